/** The norms of all queries and of all keys, and their rotation and cache write: a device may run them as one launch. */
import { decodeFloats, encodeFloats } from '@quire/core/program';
import { rmsNormBound } from '../cases/rms-norm.ts';
import { exact, roundingBound, u, within } from '../checks.ts';
import { group } from '../define.ts';
import { floats, patterns } from '../random.ts';
import { positionOf, ROTARY_POSITIONS, rotaryTable } from '../rotary.ts';
import { rowVariants } from '../row-variants.ts';
import type { CaseGroup, CaseInputs, FloatType } from '../types.ts';

interface Shape {
  heads: number;
  kvHeads: number;
  headDim: number;
  rotaryDim: number;
  interleaved?: boolean;
  weights: FloatType;
  /** Of the cache too. */
  activations: FloatType;
  quick?: boolean;
}

const EPS = 1e-6;
const [BLOCKS, BLOCK_SIZE] = [5, 4];

export function normedRotationCases(): CaseGroup[] {
  const shapes: Shape[] = [
    { heads: 4, kvHeads: 2, headDim: 16, rotaryDim: 16, weights: 'bf16', activations: 'bf16', quick: true },
    { heads: 3, kvHeads: 1, headDim: 24, rotaryDim: 12, weights: 'f32', activations: 'f16', quick: true },
    { heads: 20, kvHeads: 2, headDim: 128, rotaryDim: 128, weights: 'bf16', activations: 'bf16' },
    {
      heads: 2,
      kvHeads: 2,
      headDim: 32,
      rotaryDim: 32,
      interleaved: true,
      weights: 'f16',
      activations: 'f32',
      quick: true,
    },
    // Rows that are not whole packs of 16 bytes.
    { heads: 3, kvHeads: 1, headDim: 10, rotaryDim: 6, weights: 'bf16', activations: 'bf16' },
  ];
  return shapes.flatMap(normedRotations);
}

function normedRotations(shape: Shape): CaseGroup[] {
  const { heads, kvHeads, headDim, rotaryDim, interleaved = false, weights, activations, quick = false } = shape;
  const [queries, keys, all] = [heads, kvHeads, heads + 2 * kvHeads].map(count => count * headDim) as [
    number,
    number,
    number,
  ];
  const cache = [BLOCKS, kvHeads, BLOCK_SIZE, headDim];
  const cached = BLOCKS * BLOCK_SIZE * keys;
  return group({
    name: `normed columns, heads=${heads}/${kvHeads}x${headDim} rotary=${rotaryDim}${interleaved ? ' interleaved' : ''} ${activations}*${weights}`,
    quick,
    maxSizes: { tokens: 9 },
    build(builder) {
      builder.external('qkv', activations, ['tokens', all]);
      builder.external('qWeight', weights, [queries]);
      builder.external('kWeight', weights, [keys]);
      builder.external('positions', 'u32', ['tokens']);
      builder.external('table', 'f32', [ROTARY_POSITIONS, rotaryDim]);
      builder.external('slotMapping', 'u32', ['tokens']);
      builder.external('kCache', activations, cache);
      builder.external('vCache', activations, cache);
      builder.add({ op: 'normColumns', x: 'qkv', weight: 'qWeight', eps: EPS, column: 0 });
      builder.add({ op: 'normColumns', x: 'qkv', weight: 'kWeight', eps: EPS, column: queries });
      const tensors = { qkv: 'qkv', positions: 'positions', table: 'table', slotMapping: 'slotMapping' };
      const geometry = { heads, kvHeads, headDim, rotaryDim, interleaved, blockSize: BLOCK_SIZE };
      builder.add({ op: 'ropeKvWrite', ...tensors, kCache: 'kCache', vCache: 'vCache', ...geometry });
    },
    checks: {
      qkv: within(reason, ({ inputs }) => rotatedBound(shape, inputs), activations),
      kCache: within(reason, args => cachedBound(shape, args.inputs, args.expected), activations),
      vCache: exact('values are copied'),
    },
    variants: rowVariants(
      [9, 1, 4, 8, 2],
      activations === 'f16' ? ['normal', 'ties', 'sparse'] : patterns,
      (random, rows, pattern) => ({
        qkv: encodeFloats(activations, floats(random, rows * all, pattern)),
        qWeight: encodeFloats(weights, floats(random, queries)),
        kWeight: encodeFloats(weights, floats(random, keys)),
        positions: Uint32Array.from({ length: rows }, (_, i) => positionOf('random', random, i)),
        table: rotaryTable(rotaryDim),
        slotMapping: Uint32Array.from(random.distinct(rows, 0, BLOCKS * BLOCK_SIZE)),
        kCache: encodeFloats(activations, floats(random, cached)),
        vCache: encodeFloats(activations, floats(random, cached)),
      }),
    ),
  });
}

const reason =
  'of the norm see rms-norm.ts; its rounding, which may go either way, reaches both elements of a pair; two products and a sum: 4e-7 ' +
  '(|a| + |b|); a rounding, which may go either way; what is not written stays as it is';

/** How far off a value of qkv may be. */
function rotatedBound(shape: Shape, inputs: CaseInputs): (i: number) => number {
  const { heads, kvHeads, headDim, rotaryDim, interleaved = false, weights, activations } = shape;
  const [queries, keys] = [heads * headDim, kvHeads * headDim];
  const width = queries + 2 * keys;
  const normed = Float64Array.from(decodeFloats(activations, inputs.qkv!));
  const bounds = new Float64Array(normed.length);
  const parts = [
    { from: 0, weight: decodeFloats(weights, inputs.qWeight!) },
    { from: queries, weight: decodeFloats(weights, inputs.kWeight!) },
  ];
  for (let start = 0; start < normed.length; start += width) {
    for (const { from, weight } of parts) {
      const values = normed.subarray(start + from, start + from + weight.length);
      const rms = Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / weight.length + EPS);
      for (let i = 0; i < weight.length; i++) values[i]! *= weight[i]! / rms;
      const bound = rmsNormBound(Float32Array.from(values), weight.length);
      for (let i = 0; i < weight.length; i++) {
        bounds[start + from + i] = bound(i) + roundingBound(activations, values[i]!);
      }
    }
  }
  const half = rotaryDim / 2;
  return i => {
    const d = (i % width) % headDim;
    if (i % width >= queries + keys) return 0;
    if (d >= rotaryDim) return bounds[i]!;
    const partner = interleaved ? i + (d % 2 === 0 ? 1 : -1) : i + (d < half ? half : -half);
    const size = Math.abs(normed[i]!) + Math.abs(normed[partner]!);
    return (4e-7 + 8 * u) * size + bounds[i]! + bounds[partner]! + roundingBound(activations, size);
  };
}

/** Of the cache of keys: those of the step. */
function cachedBound(shape: Shape, inputs: CaseInputs, expected: ArrayLike<number>): (i: number) => number {
  const { heads, kvHeads, headDim } = shape;
  const bound = rotatedBound(shape, inputs);
  const bounds = new Float64Array(expected.length);
  inputs.slotMapping!.forEach((slot: number, token: number) => {
    for (let i = 0; i < kvHeads * headDim; i++) {
      const block = Math.floor(slot / BLOCK_SIZE) * kvHeads + Math.floor(i / headDim);
      const to = (block * BLOCK_SIZE + (slot % BLOCK_SIZE)) * headDim + (i % headDim);
      bounds[to] = bound((token * (heads + 2 * kvHeads) + heads) * headDim + i);
    }
  });
  return i => bounds[i]!;
}
