import { type AttentionShape, NONE } from '../../../contract/contract.ts';
import type { KernelTensors, RunOp } from './kernel.ts';

/** cache[slot / blockSize][kvHead][slot % blockSize] = the key or value of the token, unless its slot is NONE. */
export function writeToCache(
  { heads, kvHeads, headDim, blockSize }: AttentionShape,
  { qkv, slotMapping, kCache, vCache }: KernelTensors<'kvWrite'>,
): RunOp {
  const keysAndValues = new Float64Array(2 * kvHeads * headDim);
  return sizes => {
    const [tokens, slots] = [qkv.rows(sizes), kCache.rows(sizes) * blockSize];
    for (let t = 0; t < tokens; t++) {
      const slot = slotMapping.data[t]!;
      if (slot === NONE) continue;
      if (slot >= slots) throw new RangeError(`token ${t} has slot ${slot}, the cache ends at ${slots}`);
      qkv.load(t * qkv.width + heads * headDim, keysAndValues.length, keysAndValues);
      const block = Math.floor(slot / blockSize);
      for (let head = 0; head < kvHeads; head++) {
        const to = ((block * kvHeads + head) * blockSize + (slot % blockSize)) * headDim;
        kCache.store(to, headDim, keysAndValues, head * headDim);
        vCache.store(to, headDim, keysAndValues, (kvHeads + head) * headDim);
      }
    }
  };
}
