import { NONE } from '../../contract/contract.ts';
import type { Kernel } from './lib/kernel.ts';

/** cache[block] = 0 for each block that is not NONE. */
export const zeroBlocks: Kernel<'zeroBlocks'> = (_, { kCache, vCache, kScales, vScales, blocks }) => {
  const zeros = new Float64Array(kCache.width);
  return sizes => {
    const [count, limit] = [blocks.rows(sizes), kCache.rows(sizes)];
    for (let i = 0; i < count; i++) {
      const block = blocks.data[i]!;
      if (block === NONE) continue;
      if (block >= limit) throw new RangeError(`entry ${i} is block ${block}, the cache has ${limit} blocks`);
      for (const cache of [kCache, vCache, kScales, vScales]) cache?.store(block * cache.width, cache.width, zeros);
    }
  };
};
