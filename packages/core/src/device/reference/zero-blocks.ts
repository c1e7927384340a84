import { NONE } from '../../contract/contract.ts';
import type { Kernel } from './lib/kernel.ts';

/** cache[block] = 0 for each block that is not NONE. */
export const zeroBlocks: Kernel<'zeroBlocks'> = (_, { kCache, vCache, blocks }) => {
  const zeros = new Float64Array(kCache.width);
  return sizes => {
    const [count, limit] = [blocks.rows(sizes), kCache.rows(sizes)];
    for (let i = 0; i < count; i++) {
      const block = blocks.data[i]!;
      if (block === NONE) continue;
      if (block >= limit) throw new RangeError(`entry ${i} is block ${block}, the cache has ${limit} blocks`);
      kCache.store(block * kCache.width, kCache.width, zeros);
      vCache.store(block * vCache.width, vCache.width, zeros);
    }
  };
};
