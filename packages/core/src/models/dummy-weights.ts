import type { DType } from '../contract/contract.ts';
import { encodeFloats } from '../program/float-formats.ts';
import type { ModelWeight } from './model-weights.ts';
import { rawBytes } from './weight-chunks.ts';

const CHUNK_ELEMENTS = 1 << 18;

/**
 * Seeded stand-ins for the rows of a weight, for benchmarks without a checkpoint: scales are 1, biases 0, and matrices
 * uniform with variance 1 / columns, so that activations keep their size from layer to layer.
 */
export function* dummyChunks(weight: ModelWeight, dtype: DType, rows: number, seed: number): Generator<Uint8Array> {
  const columns = weight.shape[1] ?? 1;
  const next = uniform(hashName(weight.name) ^ seed);
  const scale = Math.sqrt(3 / columns);
  const constant = weight.name.endsWith('.bias') ? 0 : 1;
  for (let left = rows * columns; left > 0; left -= CHUNK_ELEMENTS) {
    const values = new Float32Array(Math.min(left, CHUNK_ELEMENTS));
    if (weight.shape.length === 1) values.fill(constant);
    else for (let i = 0; i < values.length; i++) values[i] = next() * scale;
    yield rawBytes(encodeFloats(dtype, values));
  }
}

/** Uniform numbers in [-1, 1): xorshift32 (Marsaglia 2003). */
function uniform(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state / 2 ** 31;
  };
}

/** FNV-1a, so that every weight starts elsewhere. */
function hashName(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return hash;
}
