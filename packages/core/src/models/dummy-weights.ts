import { dtypeBytes, type FloatDType } from '../contract/contract.ts';
import { encodeFloats } from '../program/float-formats.ts';
import type { ModelWeight, WeightPart } from './model-weights.ts';
import { rawBytes } from './weight-chunks.ts';

/**
 * Values after which a matrix repeats: 4 (2^18 - 1) has only small factors in common with the widths of models, so that no two
 * rows of a matrix below tens of thousands of rows are equal.
 */
const PERIOD = (1 << 20) - 4;

/**
 * Seeded stand-ins for weights, for benchmarks without a checkpoint: scales are 1, biases 0, and matrices uniform with variance
 * 1 / columns, so that activations keep their size from layer to layer. Values do not depend on the row parts of a weight.
 *
 * Random numbers are drawn and rounded once per dtype and width, and every weight starts at a place of its own in them: tens of
 * gigabytes are filled at the speed at which the device takes them.
 */
export class DummyWeights {
  readonly #seed: number;
  readonly #blocks = new Map<string, Uint8Array>();

  constructor(seed: number) {
    this.#seed = seed;
  }

  /** Raw bytes of a row part, in chunks. Chunks are views of shared memory: do not write to them. */
  *chunks(weight: ModelWeight, dtype: FloatDType, part: WeightPart): Generator<Uint8Array> {
    const [, columns] = weight.shape;
    if (columns === undefined) {
      yield rawBytes(encodeFloats(dtype, new Float32Array(part.rows).fill(weight.name.endsWith('.bias') ? 0 : 1)));
      return;
    }
    const block = this.#block(dtype, columns);
    const size = dtypeBytes[dtype];
    let at = ((hashName(weight.name) + part.firstRow * columns) % PERIOD) * size;
    for (let left = part.rows * columns * size; left > 0; at = 0) {
      const chunk = block.subarray(at, at + left);
      left -= chunk.length;
      yield chunk;
    }
  }

  #block(dtype: FloatDType, columns: number): Uint8Array {
    const key = `${dtype} ${columns}`;
    const known = this.#blocks.get(key);
    if (known !== undefined) return known;
    const next = uniform(this.#seed);
    const scale = Math.sqrt(3 / columns);
    const values = new Float32Array(PERIOD);
    for (let i = 0; i < PERIOD; i++) values[i] = next() * scale;
    const block = rawBytes(encodeFloats(dtype, values));
    this.#blocks.set(key, block);
    return block;
  }
}

/** Uniform numbers in [-1, 1): xorshift32 (Marsaglia 2003). */
function uniform(seed: number): () => number {
  // Spread over all bits, so that neighbouring seeds have nothing in common; the state must not be 0.
  let state = Math.imul(seed, 0x9e3779b1) | 1;
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
  return hash >>> 0;
}
