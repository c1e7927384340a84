import { writeToCache } from './lib/cache-write.ts';
import type { Kernel } from './lib/kernel.ts';
import { rotateInPlace } from './lib/rotary.ts';

/** Rotates queries and keys in place, then writes the keys as they are stored, and the values, to the cache. */
export const ropeKvWrite: Kernel<'ropeKvWrite'> = (op, tensors) => {
  const rotate = rotateInPlace(op, tensors);
  const write = writeToCache(op, tensors);
  return sizes => {
    rotate(sizes);
    write(sizes);
  };
};
