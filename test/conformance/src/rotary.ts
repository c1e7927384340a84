import type { HeadNorms, TensorName, TypedArray } from '@quire/core/contract';
import { decodeFloats, encodeFloats, type ProgramBuilder } from '@quire/core/program';
import { compareValues, roundingBound, u } from './checks.ts';
import { floats, type Random } from './random.ts';
import type { CaseInputs, FloatType, OutputCheck } from './types.ts';

export interface RotaryShape {
  heads: number;
  kvHeads: number;
  headDim: number;
  rotaryDim: number;
  interleaved: boolean;
  /** Dtype of the weights of the heads' norms; none: no norms. */
  norms?: FloatType;
}

const NORM_EPS = 1e-6;

/** Rows of the table. */
export const ROTARY_POSITIONS = 300;

/** Position of token i: all `zero`, all `last`, `consecutive`, or anywhere. */
export function positionOf(order: string, random: Random, i: number): number {
  if (order === 'zero') return 0;
  if (order === 'last') return ROTARY_POSITIONS - 1;
  return order === 'consecutive' ? (17 + i) % ROTARY_POSITIONS : random.integer(0, ROTARY_POSITIONS);
}

/** [ROTARY_POSITIONS, rotaryDim]: cosines, then sines. */
export function rotaryTable(rotaryDim: number): Float32Array {
  const half = rotaryDim / 2;
  const table = new Float32Array(ROTARY_POSITIONS * rotaryDim);
  for (let position = 0; position < ROTARY_POSITIONS; position++) {
    for (let i = 0; i < half; i++) {
      const angle = position / 10_000 ** (i / half);
      table[position * rotaryDim + i] = Math.cos(angle);
      table[position * rotaryDim + half + i] = Math.sin(angle);
    }
  }
  return table;
}

/** Declares the weights of the norms, and gives the fields of the op that name them. */
export function declareNorms(builder: ProgramBuilder, { headDim, norms }: RotaryShape): HeadNorms {
  if (norms === undefined) return {};
  const weight = (name: TensorName) => builder.external(name, norms, [headDim]);
  return { qNorm: weight('qNorm'), kNorm: weight('kNorm'), normEps: NORM_EPS };
}

/** Weights of both signs and around 1. */
export function normInputs(random: Random, { headDim, norms }: RotaryShape): Record<TensorName, TypedArray> {
  if (norms === undefined) return {};
  const weight = () => encodeFloats(norms, floats(random, headDim, 'normal'));
  return { qNorm: weight(), kNorm: weight() };
}

/** ` norms=f32`, or nothing. */
export function normsName({ norms }: RotaryShape): string {
  return norms === undefined ? '' : ` norms=${norms}`;
}

export const rotationReason =
  'two products and a sum: 4e-7 (|a| + |b|); of normed heads the mean of squares is an f32 sum, perhaps of one lane in order: ' +
  '2e-6 + u headDim / 16 of each beside it';

/**
 * How far element i of the rotated qkv may be from its true value; 0 where it is left as it is. `qkv` holds the values before the
 * op.
 */
export function rotationBound(shape: RotaryShape, qkv: ArrayLike<number>, inputs: CaseInputs): (i: number) => number {
  const { heads, kvHeads, headDim, rotaryDim, interleaved, norms } = shape;
  const width = (heads + 2 * kvHeads) * headDim;
  const half = rotaryDim / 2;
  const turned = normedHeads(shape, qkv, inputs);
  const normError = norms === undefined ? 0 : 2e-6 + (u * headDim) / 16;
  return i => {
    const column = i % width;
    const d = column % headDim;
    if (column >= (heads + kvHeads) * headDim) return 0;
    if (d >= rotaryDim) return normError * Math.abs(turned[i]!);
    const partner = interleaved ? i + (d % 2 === 0 ? 1 : -1) : i + (d < half ? half : -half);
    return (4e-7 + normError) * (Math.abs(turned[i]!) + Math.abs(turned[partner]!));
  };
}

/** Of qkv in `activations` once it is rotated: what is left as it is must be equal. */
export function rotatedCheck(shape: RotaryShape, activations: FloatType, reason: string): OutputCheck {
  return {
    reason,
    compare({ inputs, expected, actual }) {
      const [a, b] = [decodeFloats(activations, expected), decodeFloats(activations, actual)];
      const bound = rotationBound(shape, decodeFloats(activations, inputs.qkv!), inputs);
      return compareValues(a, b, i => bound(i) && bound(i) + roundingBound(activations, a[i]!));
    },
  };
}

/** qkv with its query and key heads normed, in f64. */
function normedHeads(shape: RotaryShape, qkv: ArrayLike<number>, inputs: CaseInputs): ArrayLike<number> {
  const { heads, kvHeads, headDim, norms } = shape;
  if (norms === undefined) return qkv;
  const result = Float64Array.from(qkv);
  const weights = [inputs.qNorm!, inputs.kNorm!].map(raw => decodeFloats(norms, raw)) as [Float32Array, Float32Array];
  for (let start = 0; start < result.length; start += headDim) {
    const head = (start / headDim) % (heads + 2 * kvHeads);
    if (head >= heads + kvHeads) continue;
    const values = result.subarray(start, start + headDim);
    const meanSquare = values.reduce((sum, value) => sum + value * value, 0) / headDim;
    const weight = weights[head < heads ? 0 : 1]!;
    values.forEach((value, i) => {
      values[i] = (value / Math.sqrt(meanSquare + NORM_EPS)) * weight[i]!;
    });
  }
  return result;
}
