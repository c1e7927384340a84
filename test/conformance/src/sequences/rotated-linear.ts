/** A norm, the projection behind it, and the rotation and cache write of what that gives: a device may run them as one launch. */
import { encodeFloats } from '@quire/core/program';
import { EPS } from '../cases/layer-norm.ts';
import { linearBound } from '../cases/linear.ts';
import { roundingBound, u, within } from '../checks.ts';
import { group } from '../define.ts';
import { matrix, matrixValues } from '../matrices.ts';
import { floats } from '../random.ts';
import { positionOf, ROTARY_POSITIONS, rotaryTable } from '../rotary.ts';
import { rowVariants } from '../row-variants.ts';
import type { CaseGroup, CheckArguments, FloatType } from '../types.ts';
import { normedInput } from './normed-linear.ts';

interface Shape {
  k: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  /** Of everything. */
  dtype: FloatType;
  /** Rows of the cache, in another dtype: default `dtype`. */
  cache?: FloatType;
}

const [BLOCKS, BLOCK_SIZE] = [5, 4];

export function rotatedLinearCases(): CaseGroup[] {
  const shapes: Shape[] = [
    { k: 136, heads: 4, kvHeads: 2, headDim: 8, dtype: 'bf16' },
    { k: 72, heads: 3, kvHeads: 1, headDim: 32, dtype: 'f16' },
    { k: 264, heads: 2, kvHeads: 1, headDim: 80, dtype: 'bf16' },
    // Heads that are neither whole tiles nor parts of one, and a cache of another dtype.
    { k: 64, heads: 2, kvHeads: 1, headDim: 24, dtype: 'bf16' },
    { k: 64, heads: 2, kvHeads: 1, headDim: 16, dtype: 'bf16', cache: 'f16' },
  ];
  return shapes.flatMap(rotatedLinears);
}

function rotatedLinears(shape: Shape): CaseGroup[] {
  const { k, heads, kvHeads, headDim, dtype, cache = dtype } = shape;
  const width = (heads + 2 * kvHeads) * headDim;
  const cached = BLOCKS * BLOCK_SIZE * kvHeads * headDim;
  const bound = rotatedBound(shape);
  return group({
    name: `rmsNorm, linear, rotation, K=${k} heads=${heads}/${kvHeads}x${headDim} ${dtype} cache=${cache}`,
    quick: true,
    maxSizes: { tokens: 9 },
    build(builder) {
      builder.external('x', dtype, ['tokens', k]);
      builder.external('normWeight', dtype, [k]);
      builder.external('weight0', dtype, [width, k]);
      builder.external('qkv', dtype, ['tokens', width]);
      builder.external('positions', 'u32', ['tokens']);
      builder.external('table', 'f32', [ROTARY_POSITIONS, headDim]);
      builder.external('slotMapping', 'u32', ['tokens']);
      for (const name of ['kCache', 'vCache']) builder.external(name, cache, [BLOCKS, kvHeads, BLOCK_SIZE, headDim]);
      builder.temporary('normed', dtype, ['tokens', k]);
      builder.add({ op: 'rmsNorm', x: 'x', weight: 'normWeight', out: 'normed', eps: EPS });
      builder.add({ op: 'linear', x: 'normed', weight: 'weight0', out: 'qkv', activation: 'none', outColumn: 0 });
      const tensors = { qkv: 'qkv', positions: 'positions', table: 'table', slotMapping: 'slotMapping' };
      const geometry = { heads, kvHeads, headDim, rotaryDim: headDim, interleaved: false, blockSize: BLOCK_SIZE };
      builder.add({ op: 'ropeKvWrite', ...tensors, kCache: 'kCache', vCache: 'vCache', ...geometry });
    },
    checks: {
      qkv: within(reason, bound, dtype),
      kCache: within(reason, args => cachedBound(shape, args, heads), cache),
      vCache: within(reason, args => cachedBound(shape, args, heads + kvHeads), cache),
    },
    variants: rowVariants([8, 1, 9, 3], ['normal', 'ties'], (random, tokens, pattern) => ({
      x: encodeFloats(dtype, floats(random, tokens * k, pattern)),
      normWeight: encodeFloats(dtype, floats(random, k)),
      weight0: matrix(random, dtype, width, k),
      positions: Uint32Array.from({ length: tokens }, (_, i) => positionOf('random', random, i)),
      table: rotaryTable(headDim),
      slotMapping: Uint32Array.from(random.distinct(tokens, 0, BLOCKS * BLOCK_SIZE)),
      kCache: encodeFloats(cache, floats(random, cached)),
      vCache: encodeFloats(cache, floats(random, cached)),
    })),
  });
}

const reason =
  'of the layer see linear.ts; its error reaches both elements of a pair; two products and a sum: 4e-7 (|a| + |b|); a rounding, which ' +
  'may go either way; what is not written stays as it is';

type Arguments = Omit<CheckArguments, 'actual'>;

/** How far off a value of qkv may be. */
function rotatedBound({ k, heads, kvHeads, headDim, dtype }: Shape) {
  const width = (heads + 2 * kvHeads) * headDim;
  const input = normedInput({ norm: 'rmsNorm', weights: dtype });
  const ofLayer = linearBound({ k, parts: [width], weights: dtype, activations: dtype }, [0], width, input);
  return ({ inputs, sizes }: Pick<Arguments, 'inputs' | 'sizes'>) => {
    const { x } = input(inputs, dtype, k);
    const weight = matrixValues(dtype, inputs.weight0!, k);
    const projected = Float32Array.from({ length: sizes.tokens * width }, (_, at) => {
      const [row, column] = [Math.floor(at / width) * k, (at % width) * k];
      let sum = 0;
      for (let i = 0; i < k; i++) sum += x[row + i]! * weight[column + i]!;
      return sum;
    });
    const before = ofLayer({ inputs, sizes, expected: projected });
    return (i: number) => {
      const d = i % headDim;
      if (i % width >= (heads + kvHeads) * headDim) return before(i);
      const partner = i + (d < headDim / 2 ? headDim / 2 : -headDim / 2);
      const size = Math.abs(projected[i]!) + Math.abs(projected[partner]!);
      return (4e-7 + 8 * u) * size + before(i) + before(partner) + roundingBound(dtype, size);
    };
  };
}

/** The same of a cache, whose first head is head `first` of qkv. */
function cachedBound(shape: Shape, { inputs, sizes, expected }: Arguments, first: number) {
  const { heads, kvHeads, headDim, cache = shape.dtype } = shape;
  const bound = rotatedBound(shape)({ inputs, sizes });
  const bounds = new Float64Array(expected.length);
  (inputs.slotMapping as Uint32Array).forEach((slot, token) => {
    for (let i = 0; i < kvHeads * headDim; i++) {
      const [head, d] = [Math.floor(i / headDim), i % headDim];
      const block = Math.floor(slot / BLOCK_SIZE) * kvHeads + head;
      const at = (block * BLOCK_SIZE + (slot % BLOCK_SIZE)) * headDim + d;
      const from = (token * (heads + 2 * kvHeads) + first + head) * headDim + d;
      bounds[at] = bound(from) + roundingBound(cache, expected[at]!);
    }
  });
  return (i: number) => bounds[i]!;
}
