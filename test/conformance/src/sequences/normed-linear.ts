/**
 * A norm, and the linear layer behind it, perhaps with a sum or with a sum and another norm between them: a device may run them as one
 * launch, and the case compares that with the ops of the oracle.
 */
import { type FloatDType, type Op, quantDTypes, quantFormats, type WeightDType } from '@quire/core/contract';
import { decodeFloats, encodeFloats } from '@quire/core/program';
import { type GatedLinearShape, gatedLinearCheck } from '../cases/gated-linear.ts';
import { EPS, layerNormBound, rowStatistics } from '../cases/layer-norm.ts';
import { type LinearShape, linearCheck } from '../cases/linear.ts';
import { rmsNormBound } from '../cases/rms-norm.ts';
import { unitRoundoff, within } from '../checks.ts';
import { group } from '../define.ts';
import type { LinearInput } from '../linear-input.ts';
import { matrix } from '../matrices.ts';
import { floats, type Pattern } from '../random.ts';
import { rowVariants } from '../row-variants.ts';
import type { CaseGroup, CaseInputs, FloatType } from '../types.ts';

type Norm = 'rmsNorm' | 'layerNorm' | 'layerNorm with bias';
interface Shape {
  norm: Norm;
  k: number;
  n: number;
  /** Of the norm, and of the matrix where it has no dtype of its own. */
  weights: FloatDType;
  matrix?: WeightDType;
  /** Default f32. */
  activations?: FloatType;
  /** Default that of the activations. */
  out?: FloatType;
  bias?: boolean;
  residual?: boolean;
  /**
   * Others read what the layer does: the normed rows; their sum with a residual of their own; or such a sum, whose rmsNorm the layer
   * reads. Default: the layer alone reads the normed rows.
   */
  between?: 'nothing' | 'sum' | 'sum and norm';
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
    ...plainActivations(),
    ...betweens({ n: 70, weights: 'bf16', activations: 'bf16', quick: true }),
    ...betweens({ n: 37, weights: 'f16', activations: 'f16', counts: [8, 1, 5, 20] }),
    { norm: 'layerNorm with bias', between: 'nothing', k: 136, n: 24, weights: 'f16', activations: 'f16', bias: true },
    { norm: 'rmsNorm', between: 'sum and norm', k: 3584, n: 18, weights: 'bf16', activations: 'bf16', counts: [1, 8] },
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
    ...plainActivations(),
    ...betweens({ n: 19, weights: 'bf16', activations: 'bf16', quick: true }),
  ];
  return shapes.flatMap(gates);
}

/** Activations in f32 beside matrices of every other dtype. */
function plainActivations(): Shape[] {
  const some = { norm: 'rmsNorm', counts: [1, 4, 3, 5], kinds: ['normal', 'outliers'], quick: true } as const;
  return [
    { ...some, k: 68, n: 37, weights: 'f16' },
    { ...some, k: 132, n: 21, weights: 'bf16' },
    ...quantDTypes.map(matrix => {
      const k = 3 * Math.max(quantFormats[matrix].group, 32);
      return { ...some, k, n: 29, weights: 'bf16', matrix } as const;
    }),
  ];
}

/** A shape of each kind that has something between its norm and its layer. */
function betweens(shape: Omit<Shape, 'norm' | 'k' | 'between'>): Shape[] {
  return [
    { ...shape, norm: 'layerNorm with bias', between: 'nothing', k: 96 },
    { ...shape, norm: 'rmsNorm', between: 'nothing', k: 520, counts: [1, 3, 8] },
    { ...shape, norm: 'rmsNorm', between: 'sum', k: 264 },
    { ...shape, norm: 'layerNorm', between: 'sum', k: 40, counts: [2, 8] },
    { ...shape, norm: 'rmsNorm', between: 'sum and norm', k: 72 },
    { ...shape, norm: 'layerNorm with bias', between: 'sum and norm', k: 1040, counts: [4, 7] },
  ];
}

function linears(shape: Shape): CaseGroup[] {
  const {
    k,
    n,
    weights,
    matrix = weights,
    activations = 'f32',
    out = activations,
    bias = false,
    residual = false,
  } = shape;
  const linear: LinearShape = { k, parts: [n], weights: matrix, activations, out, bias, activation: 'none' };
  const op: Op = { op: 'linear', x: 'normed', weight: 'weight0', out: 'out', activation: 'none', outColumn: 0 };
  const check = linearCheck(linear, [0], n, normedInput(shape));
  return pairs(shape, { ...op, ...(bias && { bias: 'bias0' }), ...(residual && { residual: 'residual' }) }, check, n);
}

function gates(shape: Shape): CaseGroup[] {
  const { k, n, weights, matrix = weights, activations = 'f32', bias = false } = shape;
  const gated: GatedLinearShape = { k, n, weights: matrix, activations, activation: 'silu' };
  const op: Op = { op: 'gatedLinear', x: 'normed', weight: 'weight', out: 'out', activation: 'silu' };
  const check = gatedLinearCheck(gated, normedInput(shape));
  return pairs(shape, { ...op, ...(bias && { bias: 'bias' }) }, check, 2 * n);
}

type LayerOp = Extract<Op, { op: 'linear' | 'gatedLinear' }>;

function pairs(shape: Shape, layer: Op, check: ReturnType<typeof linearCheck>, weightRows: number): CaseGroup[] {
  const { norm, k, n, weights, activations = 'f32', out = activations, residual = false, quick = false } = shape;
  const { counts = rows.counts, kinds = rows.kinds, between, matrix: dtype = weights } = shape;
  const { op, weight, bias } = layer as LayerOp;
  const vectors = norm === 'layerNorm with bias' ? ['normWeight', 'normBias'] : ['normWeight'];
  if (between === 'sum and norm') vectors.push('secondWeight');
  const sums = between === 'sum' || between === 'sum and norm';
  const extras = [bias !== undefined && 'bias', residual && 'residual', between && `between=${between}`].filter(
    Boolean,
  );
  return group({
    name: [`${norm}, ${op} K=${k} N=${n} ${activations}*${dtype}->${out}`, ...extras].join(' '),
    quick,
    maxSizes: { tokens: Math.max(...counts) },
    build(builder) {
      builder.external('x', activations, ['tokens', k]);
      for (const name of vectors) builder.external(name, weights, [k]);
      builder.external(weight, dtype, [weightRows, k]);
      if (bias !== undefined) builder.external(bias, weights, [weightRows]);
      if (residual) builder.external('residual', out, ['tokens', n]);
      builder.external('out', out, ['tokens', n]);
      const row = ['tokens', k] as const;
      if (between === 'nothing') builder.external('normed', activations, row);
      else builder.temporary('normed', activations, row);
      const normed = { x: 'x', weight: 'normWeight', out: 'normed', eps: EPS };
      if (norm === 'rmsNorm') builder.add({ op: 'rmsNorm', ...normed });
      else builder.add({ op: 'layerNorm', ...normed, ...(norm !== 'layerNorm' && { bias: 'normBias' }) });
      if (sums) {
        builder.external('added', activations, row);
        builder.external('sum', activations, row);
        builder.add({ op: 'add', a: 'added', b: 'normed', out: 'sum' });
      }
      if (between === 'sum and norm') {
        builder.temporary('twice', activations, row);
        builder.add({ op: 'rmsNorm', x: 'sum', weight: 'secondWeight', out: 'twice', eps: EPS });
      }
      const source = between === 'sum' ? 'sum' : between === 'sum and norm' ? 'twice' : 'normed';
      builder.add({ ...(layer as LayerOp), x: source });
    },
    checks: {
      out: check,
      ...(between === 'nothing' && { normed: storedRows(shape, false) }),
      ...(sums && { sum: storedRows(shape, true) }),
    },
    variants: rowVariants(counts, kinds, (random, tokens, pattern) => ({
      x: encodeFloats(activations, floats(random, tokens * k, pattern)),
      ...(sums && { added: encodeFloats(activations, floats(random, tokens * k)) }),
      ...Object.fromEntries(vectors.map(name => [name, encodeFloats(weights, floats(random, k))])),
      [weight]: matrix(random, dtype, weightRows, k),
      ...(bias !== undefined && { [bias]: encodeFloats(weights, floats(random, weightRows)) }),
      ...(residual && { residual: encodeFloats(out, floats(random, tokens * n)) }),
    })),
  });
}

/** Values as they are stored, and how far those of another device may be off. */
interface Rows {
  readonly x: Float32Array;
  readonly spread: Float64Array;
}

const storedReason =
  'of the norm see rms-norm.ts and layer-norm.ts; where the error of a value may round it the other way, what that makes of it, in ' +
  'the sum too';

/** What others read: the normed rows, or their sum with the residual. */
function storedRows(shape: Shape, summed: boolean) {
  const { k, activations = 'f32' } = shape;
  return within(
    storedReason,
    ({ inputs }) => {
      const normed = normedRows(shape, inputs, activations, k);
      const { spread } = summed ? summedRows(inputs, activations, normed) : normed;
      return i => spread[i]!;
    },
    activations,
  );
}

/** The rows that the layer multiplies. */
export function normedInput(shape: Pick<Shape, 'norm' | 'weights' | 'between'>): LinearInput {
  return (inputs, activations, k) => {
    const normed = normedRows(shape, inputs, activations, k);
    if (shape.between === undefined || shape.between === 'nothing') return normed;
    const sum = summedRows(inputs, activations, normed);
    return shape.between === 'sum' ? sum : secondRows(shape, inputs, activations, k, sum);
  };
}

function normedRows(
  { norm, weights }: Pick<Shape, 'norm' | 'weights'>,
  inputs: CaseInputs,
  activations: FloatType,
  k: number,
): Rows {
  const x = decodeFloats(activations, inputs.x!);
  const weight = decodeFloats(weights, inputs.normWeight!);
  const bias = inputs.normBias === undefined ? new Float32Array(k) : decodeFloats(weights, inputs.normBias);
  const exact = new Float64Array(x.length);
  for (let row = 0; row < x.length / k; row++) {
    const { mean, deviation } = norm === 'rmsNorm' ? rootMeanSquare(x, row, k) : rowStatistics(x, row, k);
    for (let i = 0; i < k; i++) exact[row * k + i] = ((x[row * k + i]! - mean) / deviation) * weight[i]! + bias[i]!;
  }
  const bound = norm === 'rmsNorm' ? rmsNormBound(roundedTo(activations, exact), k) : layerNormBound(x, weight, bias);
  return stored(activations, exact, bound);
}

/** The residual and the normed rows, each of which may be off. */
function summedRows(inputs: CaseInputs, activations: FloatType, { x, spread }: Rows): Rows {
  const added = decodeFloats(activations, inputs.added!);
  return stored(
    activations,
    Float64Array.from(x, (value, i) => added[i]! + value),
    i => spread[i]!,
  );
}

/** The rmsNorm of rows that may be off: an error moves its value, and the mean of the squares. */
function secondRows(
  { weights }: Pick<Shape, 'weights'>,
  inputs: CaseInputs,
  activations: FloatType,
  k: number,
  sum: Rows,
): Rows {
  const weight = decodeFloats(weights, inputs.secondWeight!);
  const [exact, moved] = [new Float64Array(sum.x.length), new Float64Array(sum.x.length)];
  for (let row = 0; row < sum.x.length / k; row++) {
    const { deviation } = rootMeanSquare(sum.x, row, k);
    let change = 0;
    for (let i = row * k; i < (row + 1) * k; i++) change += Math.abs(sum.x[i]!) * sum.spread[i]!;
    for (let i = 0; i < k; i++) {
      const at = row * k + i;
      exact[at] = (sum.x[at]! / deviation) * weight[i]!;
      // Twice: of second order.
      moved[at] =
        2 *
        ((Math.abs(weight[i]!) * sum.spread[at]!) / deviation + (Math.abs(exact[at]!) * change) / (k * deviation ** 2));
    }
  }
  const bound = rmsNormBound(roundedTo(activations, exact), k);
  return stored(activations, exact, i => bound(i) + moved[i]!);
}

function roundedTo(activations: FloatType, values: Float64Array): Float32Array {
  return decodeFloats(activations, encodeFloats(activations, Float32Array.from(values)));
}

/** Values as the oracle stores them, and how far off those with such errors may be, which perhaps are rounded the other way. */
function stored(activations: FloatType, exact: Float64Array, bound: (i: number) => number): Rows {
  const errors = exact.map((value, i) => bound(i) + unitRoundoff.f32 * Math.abs(value));
  const [x, low, high] = [
    roundedTo(activations, exact),
    roundedTo(
      activations,
      exact.map((v, i) => v - errors[i]!),
    ),
    roundedTo(
      activations,
      exact.map((v, i) => v + errors[i]!),
    ),
  ];
  return { x, spread: errors.map((_, i) => Math.max(high[i]! - x[i]!, x[i]! - low[i]!)) };
}

function rootMeanSquare(x: Float32Array, row: number, k: number) {
  const squares = x.subarray(row * k, (row + 1) * k).reduce((sum, value) => sum + value * value, 0);
  return { mean: 0, deviation: Math.sqrt(squares / k + EPS) };
}
