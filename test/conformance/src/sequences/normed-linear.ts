/**
 * A norm, and the linear layer that alone reads what it makes: a device may run the two as one launch, and the case compares that with
 * the two ops of the oracle.
 */
import type { FloatDType, Op } from '@quire/core/contract';
import { decodeFloats, encodeFloats } from '@quire/core/program';
import { type GatedLinearShape, gatedLinearCheck } from '../cases/gated-linear.ts';
import { EPS, layerNormBound, rowStatistics } from '../cases/layer-norm.ts';
import { type LinearShape, linearCheck } from '../cases/linear.ts';
import { rmsNormBound } from '../cases/rms-norm.ts';
import { unitRoundoff } from '../checks.ts';
import { group } from '../define.ts';
import type { LinearInput } from '../linear-input.ts';
import { floats, type Pattern } from '../random.ts';
import { rowVariants } from '../row-variants.ts';
import type { CaseGroup, FloatType } from '../types.ts';

type Norm = 'rmsNorm' | 'layerNorm' | 'layerNorm with bias';
interface Shape {
  norm: Norm;
  k: number;
  n: number;
  /** Of the matrix and of the norm. */
  weights: FloatDType;
  /** Default f32. */
  activations?: FloatType;
  /** Default that of the activations. */
  out?: FloatType;
  bias?: boolean;
  residual?: boolean;
  counts?: readonly number[];
  kinds?: readonly Pattern[];
  quick?: boolean;
}

const rows = { counts: [1, 2, 3, 4, 7, 8, 9], kinds: ['normal', 'outliers', 'ties', 'offset'] as const };

export function normedLinearCases(): CaseGroup[] {
  const shapes: Shape[] = [
    { norm: 'rmsNorm', k: 64, n: 40, weights: 'f32', quick: true },
    { norm: 'layerNorm with bias', k: 96, n: 33, weights: 'f16', bias: true, quick: true },
    { norm: 'layerNorm', k: 264, n: 21, weights: 'bf16', residual: true },
    { norm: 'rmsNorm', k: 35, n: 17, weights: 'f32', counts: [1, 5] },
    { norm: 'rmsNorm', k: 64, n: 200, weights: 'bf16', activations: 'bf16', quick: true },
    { norm: 'rmsNorm', k: 1032, n: 70, weights: 'bf16', activations: 'bf16', residual: true, quick: true },
    { norm: 'layerNorm with bias', k: 200, n: 50, weights: 'f16', activations: 'f16', bias: true, quick: true },
    { norm: 'layerNorm', k: 768, n: 90, weights: 'bf16', activations: 'bf16', out: 'f32' },
    { norm: 'rmsNorm', k: 72, n: 19, weights: 'f32', activations: 'f16', quick: true },
    { norm: 'rmsNorm', k: 4096, n: 34, weights: 'bf16', activations: 'bf16', counts: [1, 4, 8] },
    { norm: 'rmsNorm', k: 8192, n: 20, weights: 'f16', activations: 'f16', counts: [3, 2] },
    { norm: 'layerNorm with bias', k: 8192, n: 9, weights: 'bf16', activations: 'bf16', counts: [1, 2] },
    { norm: 'rmsNorm', k: 20, n: 9, weights: 'bf16', activations: 'bf16', counts: [2, 6] },
    { norm: 'rmsNorm', k: 8, n: 24, weights: 'f16', activations: 'f16', counts: [66, 17, 8], quick: true },
  ];
  return shapes.flatMap(linears);
}

export function normedGatedLinearCases(): CaseGroup[] {
  const small = { kinds: ['normal', 'ties', 'sparse'] as const };
  const shapes: Shape[] = [
    { norm: 'rmsNorm', k: 64, n: 24, weights: 'f32', quick: true },
    { norm: 'rmsNorm', k: 264, n: 33, weights: 'bf16', activations: 'bf16', quick: true },
    { norm: 'rmsNorm', k: 128, n: 70, weights: 'f16', activations: 'f16', ...small, quick: true },
    { norm: 'layerNorm with bias', k: 1160, n: 20, weights: 'bf16', activations: 'bf16', bias: true },
    { norm: 'rmsNorm', k: 40, n: 9, weights: 'f32', activations: 'bf16', bias: true },
  ];
  return shapes.flatMap(gates);
}

function linears(shape: Shape): CaseGroup[] {
  const { k, n, weights, activations = 'f32', out = activations, bias = false, residual = false } = shape;
  const linear: LinearShape = { k, parts: [n], weights, activations, out, bias, activation: 'none' };
  const op: Op = { op: 'linear', x: 'normed', weight: 'weight0', out: 'out', activation: 'none', outColumn: 0 };
  const check = linearCheck(linear, [0], n, normedInput(shape));
  return pairs(shape, { ...op, ...(bias && { bias: 'bias0' }), ...(residual && { residual: 'residual' }) }, check, n);
}

function gates(shape: Shape): CaseGroup[] {
  const { k, n, weights, activations = 'f32', bias = false } = shape;
  const gated: GatedLinearShape = { k, n, weights, activations, activation: 'silu' };
  const op: Op = { op: 'gatedLinear', x: 'normed', weight: 'weight', out: 'out', activation: 'silu' };
  const check = gatedLinearCheck(gated, normedInput(shape));
  return pairs(shape, { ...op, ...(bias && { bias: 'bias' }) }, check, 2 * n);
}

type LayerOp = Extract<Op, { op: 'linear' | 'gatedLinear' }>;

function pairs(shape: Shape, layer: Op, check: ReturnType<typeof linearCheck>, weightRows: number): CaseGroup[] {
  const { norm, k, n, weights, activations = 'f32', out = activations, residual = false, quick = false } = shape;
  const { counts = rows.counts, kinds = rows.kinds } = shape;
  const { op, weight, bias } = layer as LayerOp;
  const vectors = norm === 'layerNorm with bias' ? ['normWeight', 'normBias'] : ['normWeight'];
  const extras = [bias !== undefined && 'bias', residual && 'residual'].filter(Boolean);
  return group({
    name: [`${norm}, ${op} K=${k} N=${n} ${activations}*${weights}->${out}`, ...extras].join(' '),
    quick,
    maxSizes: { tokens: Math.max(...counts) },
    build(builder) {
      builder.external('x', activations, ['tokens', k]);
      for (const name of vectors) builder.external(name, weights, [k]);
      builder.external(weight, weights, [weightRows, k]);
      if (bias !== undefined) builder.external(bias, weights, [weightRows]);
      if (residual) builder.external('residual', out, ['tokens', n]);
      builder.external('out', out, ['tokens', n]);
      builder.temporary('normed', activations, ['tokens', k]);
      const normed = { x: 'x', weight: 'normWeight', out: 'normed', eps: EPS };
      if (norm === 'rmsNorm') builder.add({ op: 'rmsNorm', ...normed });
      else builder.add({ op: 'layerNorm', ...normed, ...(norm !== 'layerNorm' && { bias: 'normBias' }) });
      builder.add(layer);
    },
    checks: { out: check },
    variants: rowVariants(counts, kinds, (random, tokens, pattern) => ({
      x: encodeFloats(activations, floats(random, tokens * k, pattern)),
      ...Object.fromEntries(vectors.map(name => [name, encodeFloats(weights, floats(random, k))])),
      [weight]: encodeFloats(weights, floats(random, weightRows * k)),
      ...(bias !== undefined && { [bias]: encodeFloats(weights, floats(random, weightRows)) }),
      ...(residual && { residual: encodeFloats(out, floats(random, tokens * n)) }),
    })),
  });
}

/** The normed rows as the oracle stores them, and how far those of another device may be off: its error, and where that may round the other way. */
function normedInput({ norm, weights }: Shape): LinearInput {
  return (inputs, activations, k) => {
    const x = decodeFloats(activations, inputs.x!);
    const weight = decodeFloats(weights, inputs.normWeight!);
    const bias = inputs.normBias === undefined ? new Float32Array(k) : decodeFloats(weights, inputs.normBias);
    const exact = new Float64Array(x.length);
    for (let row = 0; row < x.length / k; row++) {
      const { mean, deviation } = norm === 'rmsNorm' ? rootMeanSquare(x, row, k) : rowStatistics(x, row, k);
      for (let i = 0; i < k; i++) exact[row * k + i] = ((x[row * k + i]! - mean) / deviation) * weight[i]! + bias[i]!;
    }
    const rounded = (values: Float64Array) =>
      decodeFloats(activations, encodeFloats(activations, Float32Array.from(values)));
    const bound = norm === 'rmsNorm' ? rmsNormBound(rounded(exact), k) : layerNormBound(x, weight, bias);
    const errors = exact.map((value, i) => bound(i) + unitRoundoff.f32 * Math.abs(value));
    const [stored, low, high] = [
      rounded(exact),
      rounded(exact.map((v, i) => v - errors[i]!)),
      rounded(exact.map((v, i) => v + errors[i]!)),
    ];
    const spread = errors.map((_, i) => Math.max(high[i]! - stored[i]!, stored[i]! - low[i]!));
    return { x: stored, spread };
  };
}

function rootMeanSquare(x: Float32Array, row: number, k: number) {
  const squares = x.subarray(row * k, (row + 1) * k).reduce((sum, value) => sum + value * value, 0);
  return { mean: 0, deviation: Math.sqrt(squares / k + EPS) };
}
