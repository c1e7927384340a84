import { type AttentionShape, cacheCodes, isCacheDType, NONE } from '../../../contract/contract.ts';
import type { KernelTensors, RunOp } from './kernel.ts';
import type { Floats } from './views.ts';

/**
 * cache[slot / blockSize][kvHead][slot % blockSize] = the key or value of the token, unless its slot is NONE. In a cache of codes:
 * scale = largest magnitude / largest code, rounded to f32, and the nearest codes of vector / scale.
 */
export function writeToCache(
  { heads, kvHeads, headDim, blockSize }: AttentionShape,
  { qkv, slotMapping, kCache, vCache, kScales, vScales }: KernelTensors<'kvWrite'>,
): RunOp {
  const keysAndValues = new Float64Array(2 * kvHeads * headDim);
  const scale = new Float64Array(1);
  function store(cache: Floats, scales: Floats | undefined, row: number, at: number): void {
    if (scales !== undefined) scales.store(row, 1, scaled(cache, at));
    cache.store(row * headDim, headDim, keysAndValues, at);
  }

  /** Divides the vector at `at` by its scale, which is returned. */
  function scaled({ dtype }: Floats, at: number): Float64Array {
    if (!isCacheDType(dtype)) return scale;
    let largest = 0;
    for (let i = 0; i < headDim; i++) largest = Math.max(largest, Math.abs(keysAndValues[at + i]!));
    scale[0] = Math.fround(largest / cacheCodes[dtype]);
    for (let i = 0; i < headDim; i++) keysAndValues[at + i] = scale[0] === 0 ? 0 : keysAndValues[at + i]! / scale[0]!;
    return scale;
  }

  return sizes => {
    const [tokens, slots] = [qkv.rows(sizes), kCache.rows(sizes) * blockSize];
    for (let t = 0; t < tokens; t++) {
      const slot = slotMapping.data[t]!;
      if (slot === NONE) continue;
      if (slot >= slots) throw new RangeError(`token ${t} has slot ${slot}, the cache ends at ${slots}`);
      qkv.load(t * qkv.width + heads * headDim, keysAndValues.length, keysAndValues);
      const block = Math.floor(slot / blockSize);
      for (let head = 0; head < kvHeads; head++) {
        const row = (block * kvHeads + head) * blockSize + (slot % blockSize);
        store(kCache, kScales, row, head * headDim);
        store(vCache, vScales, row, (kvHeads + head) * headDim);
      }
    }
  };
}
