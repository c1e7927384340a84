import { NONE } from '../../contract/contract.ts';
import { type Kernel, scratch64 } from './lib/kernel.ts';
import type { Floats } from './lib/views.ts';

/** cache[to] = cache[from] for each pair without NONE, as if all were read before any is written. */
export const copyBlocks: Kernel<'copyBlocks'> = (_, { kCache, vCache, kScales, vScales, pairs }) => {
  const scratch = scratch64();

  function copy(cache: Floats, count: number, blocks: number): void {
    const copies = scratch.take(count * cache.width);
    for (let i = 0; i < count; i++) {
      const [from, to] = [pairs.data[2 * i]!, pairs.data[2 * i + 1]!];
      if (from === NONE || to === NONE) continue;
      if (Math.max(from, to) >= blocks)
        throw new RangeError(`pair ${i} is (${from}, ${to}), the cache has ${blocks} blocks`);
      cache.load(from * cache.width, cache.width, copies, i * cache.width);
    }
    for (let i = 0; i < count; i++) {
      const [from, to] = [pairs.data[2 * i]!, pairs.data[2 * i + 1]!];
      if (from !== NONE && to !== NONE) cache.store(to * cache.width, cache.width, copies, i * cache.width);
    }
  }

  return sizes => {
    for (const cache of [kCache, vCache, kScales, vScales]) {
      if (cache !== undefined) copy(cache, pairs.rows(sizes), cache.rows(sizes));
    }
  };
};
