import type { DType } from '@quire/core/contract';
import { decodeFloats, encodeFloats } from '@quire/core/program';
import { u, withinRounded } from '../checks.ts';
import { dtypeName, group } from '../define.ts';
import { floats, halfPatterns, type Pattern, patterns } from '../random.ts';
import { rowVariants } from '../row-variants.ts';
import type { CaseGroup, FloatType } from '../types.ts';

interface Shape {
  width: number;
  weights: DType;
  bias: boolean;
  quick: boolean;
  tokens?: number;
  counts?: readonly number[];
  kinds?: readonly Pattern[];
  /** Default f32. */
  activations?: FloatType;
}
export const EPS = 1e-5;

export function layerNormCases(): CaseGroup[] {
  const shapes: Shape[] = [
    { width: 64, weights: 'f32', bias: true, quick: true },
    { width: 3, weights: 'f32', bias: false, quick: false },
    { width: 80, weights: 'f16', bias: true, quick: true },
    { width: 97, weights: 'bf16', bias: true, quick: true },
    { width: 96, weights: 'f32', bias: false, quick: true },
    { width: 257, weights: 'f16', bias: false, quick: false },
    { width: 512, weights: 'bf16', bias: true, quick: false },
    { width: 768, weights: 'f16', bias: true, quick: false },
    { width: 1000, weights: 'f32', bias: true, quick: false },
    { width: 2560, weights: 'f32', bias: true, quick: false },
    { width: 4, weights: 'f32', bias: true, quick: false, tokens: 270_000, counts: [270_000], kinds: ['normal'] },
    { width: 32, weights: 'f32', bias: false, quick: true, counts: [3], kinds: ['zeros'] },
    { width: 96, weights: 'bf16', activations: 'bf16', bias: true, quick: true },
    { width: 768, weights: 'f16', activations: 'f16', bias: true, quick: true, kinds: halfPatterns },
    { width: 97, weights: 'f32', activations: 'bf16', bias: false, quick: false },
  ];
  return shapes.flatMap(norms);
}

function norms({
  width,
  weights,
  bias,
  quick,
  tokens = 9,
  counts = [9, 1, 4, 7, 2, 8],
  kinds = patterns,
  activations = 'f32',
}: Shape): CaseGroup[] {
  return group({
    name: `width=${width} ${weights}${bias ? ' bias' : ''}${dtypeName(activations)}`,
    quick,
    maxSizes: { tokens },
    build(builder) {
      builder.external('x', activations, ['tokens', width]);
      for (const name of bias ? ['weight', 'bias'] : ['weight']) builder.external(name, weights, [width]);
      builder.external('out', activations, ['tokens', width]);
      builder.add({ op: 'layerNorm', x: 'x', weight: 'weight', out: 'out', eps: EPS, ...(bias && { bias: 'bias' }) });
    },
    checks: { out: check(width, weights, activations) },
    variants: rowVariants(counts, kinds, (random, rows, pattern) => ({
      x: encodeFloats(activations, floats(random, rows * width, pattern)),
      weight: encodeFloats(weights, floats(random, width)),
      ...(bias && { bias: encodeFloats(weights, floats(random, width)) }),
    })),
    guarded: tokens < 1000 && activations === 'f32',
  });
}

const reason =
  'mean and variance are f32 sums, perhaps of one lane in order, in which equal terms round the same way: u width / 8 of ' +
  'each beside 4e-6; subtracting the mean loses what it is larger than the deviation; one rounding of the bias';

function check(width: number, weights: DType, activations: FloatType) {
  return withinRounded(reason, activations, ['x'], ({ inputs }) => {
    const weight = decodeFloats(weights, inputs.weight!);
    const bias = inputs.bias === undefined ? new Float32Array(width) : decodeFloats(weights, inputs.bias);
    return layerNormBound(inputs.x as Float32Array, weight, bias);
  });
}

/** How far elements of the normed rows of x may be off before they are rounded. */
export function layerNormBound(x: Float32Array, weight: Float32Array, bias: Float32Array): (i: number) => number {
  const width = weight.length;
  const rows = Array.from({ length: x.length / width }, (_, row) => rowStatistics(x, row, width));
  return i => {
    const { deviation, mean, largest } = rows[Math.floor(i / width)]!;
    const meanError = u * (8 + Math.sqrt(width)) * largest;
    // The variance moves with the error of the mean: its relative error is that error over the deviation.
    const scaleError = 4e-6 + (u * width) / 8 + meanError / deviation;
    const error = scaleError * Math.abs(x[i]! - mean) + meanError;
    return (error / deviation) * Math.abs(weight[i % width]!) + 2 * u * Math.abs(bias[i % width]!);
  };
}

/** Of a row, with the eps of all cases. */
export function rowStatistics(x: Float32Array, row: number, width: number) {
  const values = x.subarray(row * width, (row + 1) * width);
  const mean = values.reduce((sum, value) => sum + value, 0) / width;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / width;
  const largest = values.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
  return { mean, deviation: Math.sqrt(variance + EPS), largest };
}
