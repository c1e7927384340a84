import {
  type Activation,
  type FloatDType,
  isQuantDType,
  type Op,
  quantDTypes,
  quantFormats,
  type WeightDType,
} from '@quire/core/contract';
import { decodeFloats, encodeFloats } from '@quire/core/program';
import { activationBound, largestSlope } from '../activation-bound.ts';
import { u, unitRoundoff, within } from '../checks.ts';
import { group } from '../define.ts';
import { dotBound } from '../dot-bound.ts';
import { type LinearInput, plainInput } from '../linear-input.ts';
import { matrix, matrixValues } from '../matrices.ts';
import { floats, type Pattern, type Random } from '../random.ts';
import { rowVariants } from '../row-variants.ts';
import type { CaseGroup, CaseInputs, CheckArguments, FloatType } from '../types.ts';

export interface LinearShape {
  k: number;
  /** Rows of each part of the weight; several stand for a weight above the device's limits. */
  parts: readonly number[];
  weights: WeightDType;
  /** Default f32. */
  activations?: FloatType;
  /** Of the output and the residual; default that of the activations. */
  out?: FloatType;
  bias?: boolean;
  residual?: 'residual' | 'residual in place';
  activation?: Activation;
  /** Column of the first part, and columns behind the last one that are left as they are. */
  margin?: readonly [before: number, after: number];
  counts?: readonly number[];
  kinds?: readonly Pattern[];
  quick?: boolean;
}

const few = { counts: [1, 3], kinds: ['normal', 'outliers'] as const };
/** Values that f16 holds. */
const half = { counts: [9, 1, 4, 2, 7], kinds: ['normal', 'outliers', 'ties', 'offset'] as const };
const decode = { counts: [1, 2, 4, 8], kinds: ['normal', 'outliers', 'ties', 'wide'] as const };

export function linearCases(): CaseGroup[] {
  const shapes: LinearShape[] = [
    { k: 64, parts: [64], weights: 'f32', quick: true },
    { k: 64, parts: [64], weights: 'f16', quick: true },
    { k: 64, parts: [64], weights: 'bf16', quick: true },
    { k: 1, parts: [1], weights: 'f32' },
    { k: 3, parts: [5], weights: 'f32', bias: true, quick: true },
    { k: 7, parts: [9], weights: 'f16', bias: true, quick: true },
    { k: 5, parts: [3], weights: 'bf16', bias: true, quick: true },
    { k: 33, parts: [31], weights: 'f16', quick: true },
    { k: 65, parts: [127], weights: 'bf16', activation: 'silu' },
    { k: 127, parts: [65], weights: 'f32', activation: 'gelu' },
    { k: 80, parts: [96], weights: 'f32', bias: true, activation: 'relu', quick: true },
    { k: 96, parts: [80], weights: 'f16', bias: true, activation: 'gelu', quick: true },
    { k: 48, parts: [100], weights: 'bf16', activation: 'geluTanh', quick: true },
    { k: 100, parts: [48], weights: 'f32', bias: true, activation: 'silu', quick: true },
    { k: 64, parts: [72], weights: 'f32', residual: 'residual', quick: true },
    { k: 64, parts: [72], weights: 'f16', residual: 'residual in place', bias: true, quick: true },
    { k: 70, parts: [50], weights: 'bf16', residual: 'residual in place', quick: true },
    { k: 32, parts: [40], weights: 'f32', residual: 'residual', activation: 'gelu', bias: true },
    { k: 40, parts: [24], weights: 'f32', margin: [16, 8], quick: true },
    { k: 40, parts: [24, 24, 9], weights: 'f16', margin: [0, 0], quick: true },
    { k: 36, parts: [17, 30], weights: 'bf16', margin: [3, 5], bias: true, quick: true },
    { k: 36, parts: [17, 30], weights: 'f32', residual: 'residual in place', margin: [1, 2] },
    { k: 256, parts: [768], weights: 'f16', ...few },
    { k: 288, parts: [288], weights: 'f32', ...few },
    { k: 768, parts: [256], weights: 'bf16', bias: true, residual: 'residual in place', ...few },
    { k: 1023, parts: [129], weights: 'f16', ...few },
    { k: 2048, parts: [130], weights: 'f16', ...few, quick: true },
    { k: 4096, parts: [66], weights: 'bf16', ...few },
    { k: 8192, parts: [17], weights: 'f32', ...few },
    // Wide prefill: more rows than any tile.
    { k: 64, parts: [192], weights: 'f32', counts: [65, 33, 64, 17], kinds: ['normal', 'outliers'], quick: true },
    { k: 96, parts: [130], weights: 'f16', bias: true, counts: [129, 31, 66, 128], kinds: ['normal', 'offset'] },
    { k: 130, parts: [97], weights: 'bf16', counts: [100, 16, 15, 63], kinds: ['normal', 'sparse'] },
    // Heads of real vocabularies, K small.
    { k: 16, parts: [50_272], weights: 'f16', ...few, quick: true },
    { k: 8, parts: [151_936], weights: 'bf16', ...few },
    { k: 8, parts: [32_768, 17_504], weights: 'f32', ...few },
    // More than 65,535 workgroups along N and along the rows.
    { k: 4, parts: [270_001], weights: 'f32', counts: [1], kinds: ['normal'] },
    { k: 4, parts: [4], weights: 'f32', counts: [70_000], kinds: ['normal'] },
    { k: 24, parts: [24], weights: 'f32', counts: [3], kinds: ['zeros'] },
    { k: 64, parts: [40], weights: 'f16', ...decode },
    { k: 80, parts: [33], weights: 'f32', ...decode },
    { k: 66, parts: [41], weights: 'bf16', ...decode },
    // 16-bit throughout, as on tensor cores: rows of 16 bytes and others, K in whole steps of 16 and not.
    { k: 64, parts: [72], weights: 'f16', activations: 'f16', ...half, quick: true },
    { k: 128, parts: [40], weights: 'bf16', activations: 'bf16', bias: true, ...half, quick: true },
    { k: 8, parts: [20], weights: 'f16', activations: 'f16', ...half },
    { k: 200, parts: [33], weights: 'bf16', activations: 'bf16', activation: 'gelu', ...half },
    { k: 71, parts: [20], weights: 'f16', activations: 'f16', bias: true, ...half, quick: true },
    {
      k: 96,
      parts: [50],
      weights: 'f16',
      activations: 'f16',
      residual: 'residual in place',
      bias: true,
      ...half,
      quick: true,
    },
    { k: 72, parts: [17, 30], weights: 'bf16', activations: 'bf16', residual: 'residual', margin: [3, 5], ...half },
    { k: 80, parts: [24, 24], weights: 'bf16', activations: 'bf16', margin: [8, 16], activation: 'silu', ...half },
    { k: 1160, parts: [70], weights: 'bf16', activations: 'bf16', ...half },
    { k: 4096, parts: [34], weights: 'f16', activations: 'f16', counts: [1, 3], kinds: ['normal', 'outliers'] },
    // Logits in f32 from 16-bit activations.
    { k: 48, parts: [200], weights: 'bf16', activations: 'bf16', out: 'f32', ...half, quick: true },
    { k: 64, parts: [90], weights: 'f16', activations: 'f16', out: 'f32', residual: 'residual', ...half },
    { k: 16, parts: [50_272], weights: 'bf16', activations: 'bf16', out: 'f32', ...few },
    // Activations and weights of different dtypes.
    { k: 96, parts: [40], weights: 'f32', activations: 'f16', ...half },
    { k: 64, parts: [40], weights: 'f16', activations: 'bf16', out: 'f32', ...half },
    // Rows on both sides of every tile.
    {
      k: 96,
      parts: [130],
      weights: 'f16',
      activations: 'f16',
      counts: [5, 16, 17, 33],
      kinds: ['normal', 'outliers'],
      quick: true,
    },
    {
      k: 136,
      parts: [100],
      weights: 'bf16',
      activations: 'bf16',
      counts: [64, 65, 32, 128, 129],
      kinds: ['normal', 'offset'],
    },
    { k: 64, parts: [264], weights: 'bf16', activations: 'bf16', counts: [270, 66], kinds: ['normal', 'ties'] },
    ...quantised(),
  ];
  return shapes.flatMap(products);
}

/** Rows that are whole packs and others, one group and several, slices of K of all lengths, rows of x on both sides of every tile. */
function quantised(): LinearShape[] {
  const ragged = { counts: [9, 1, 4, 2, 5], kinds: ['normal', 'outliers'] as const };
  const tiles = { counts: [65, 17, 64, 8, 130], kinds: ['normal'] as const };
  const forms = quantDTypes.flatMap((weights): LinearShape[] => {
    const group = Math.max(quantFormats[weights].group, 32);
    return [
      { k: group, parts: [40], weights, ...ragged, quick: true },
      { k: 3 * group, parts: [33], weights, bias: true, activation: 'silu', ...ragged },
      { k: 5 * group, parts: [20, 17], weights, margin: [3, 1], residual: 'residual in place', ...ragged, quick: true },
      { k: 2 * group, parts: [72], weights, activations: 'f16', bias: true, ...ragged, kinds: ['normal'], quick: true },
      { k: 9 * group, parts: [50], weights, activations: 'bf16', residual: 'residual', ...ragged, quick: true },
      { k: 3 * group, parts: [70], weights, activations: 'bf16', out: 'f32', ...tiles, quick: true },
      { k: group, parts: [141], weights, activations: 'f16', ...tiles },
      { k: 2048, parts: [34], weights, activations: 'bf16', ...few },
      { k: 4096, parts: [18], weights, ...few },
    ];
  });
  return [
    ...forms,
    { k: 1, parts: [3], weights: 'q8', ...ragged },
    { k: 7, parts: [9], weights: 'q8', bias: true, ...ragged, quick: true },
    { k: 100, parts: [31], weights: 'q8', ...ragged, quick: true },
    { k: 37, parts: [20], weights: 'q8', activations: 'f16', ...ragged, kinds: ['sparse'], quick: true },
    { k: 72, parts: [45], weights: 'q8', activations: 'bf16', ...ragged, quick: true },
    { k: 1160, parts: [33], weights: 'q8', activations: 'f16', ...tiles },
    { k: 32, parts: [50_272], weights: 'q4_32', ...few },
  ];
}

function products(shape: LinearShape): CaseGroup[] {
  const { k, parts, weights, bias = false, residual, activation = 'none', quick = false } = shape;
  const { activations = 'f32', out: outType = activations } = shape;
  const { counts = [9, 1, 4, 2, 7], kinds = ['normal', 'outliers', 'ties', 'wide', 'offset'], margin = [0, 0] } = shape;
  const tokens = Math.max(...counts);
  const width = margin[0] + sum(parts) + margin[1];
  const out = residual === 'residual in place' ? 'residual' : 'out';
  const columns = parts.map((_, i) => margin[0] + sum(parts.slice(0, i)));
  const spread = margin[0] + margin[1] > 0 ? [`columns=${margin[0]}..${width - margin[1]}/${width}`] : [];
  const dtypes = activations === 'f32' ? weights : `${activations}*${weights}->${outType}`;
  const extras = [bias && 'bias', residual, activation !== 'none' && activation].filter(Boolean);
  return group({
    name: [`K=${k} N=${parts.join('+')} ${dtypes}`, ...spread, ...extras].join(' '),
    quick,
    maxSizes: { tokens },
    build(builder) {
      builder.external('x', activations, ['tokens', k]);
      parts.forEach((n, i) => {
        builder.external(`weight${i}`, weights, [n, k]);
        if (bias) builder.external(`bias${i}`, biasType(weights), [n]);
      });
      for (const name of new Set(residual ? ['residual', out] : [out]))
        builder.external(name, outType, ['tokens', width]);
      columns.forEach((outColumn, i) => {
        const op: Op = { op: 'linear', x: 'x', weight: `weight${i}`, out, activation, outColumn };
        builder.add({ ...op, ...(bias && { bias: `bias${i}` }), ...(residual && { residual: 'residual' }) });
      });
    },
    checks: { [out]: linearCheck(shape, columns, width) },
    variants: rowVariants(counts, kinds, (random, rows, pattern) => ({
      x: encodeFloats(activations, floats(random, rows * k, pattern)),
      ...weightData(random, shape),
      ...(residual && { residual: encodeFloats(outType, floats(random, rows * width)) }),
    })),
    guarded:
      outType === 'f32' &&
      parts.length === 1 &&
      residual !== 'residual in place' &&
      margin[0] + margin[1] === 0 &&
      sum(parts) * tokens < 1e5,
  });
}

export function weightData(random: Random, { k, parts, weights, bias }: LinearShape): CaseInputs {
  const data: Record<string, CaseInputs[string]> = {};
  parts.forEach((n, i) => {
    data[`weight${i}`] = matrix(random, weights, n, k);
    if (bias) data[`bias${i}`] = encodeFloats(biasType(weights), floats(random, n));
  });
  return data;
}

const reason =
  'f32 sums in any order, weights rounded before: 8u sum |x||w| (measured 2.3u on normal data), and where outliers make the ' +
  'partial sums large a random walk of their roundings, 2u sqrt(K) max |x||w| (measured 0.9u); all through the slope of the ' +
  'activation, and one rounding each for bias, residual and the dtype of out';

/** `input` gives what the product has for its x. */
export function linearCheck(
  shape: LinearShape,
  columns: readonly number[],
  width: number,
  input: LinearInput = plainInput,
) {
  const { activations = 'f32', out = activations } = shape;
  return within(reason, linearBound(shape, columns, width, input), out);
}

/** How far off a value of `out` may be. */
export function linearBound(shape: LinearShape, columns: readonly number[], width: number, input: LinearInput) {
  const { k, parts, weights, activations = 'f32', out = activations, activation = 'none' } = shape;
  const rounding = out === 'f32' ? 0 : 2 * unitRoundoff[out];
  return ({ inputs, expected, sizes }: Omit<CheckArguments, 'actual'>) => {
    const { x, spread } = input(inputs, activations, k);
    const residual = inputs.residual === undefined ? undefined : decodeFloats(out, inputs.residual);
    const bounds = new Float64Array(sizes.tokens * width);
    parts.forEach((n, part) => {
      const weight = matrixValues(weights, inputs[`weight${part}`]!, k);
      const biasBits = inputs[`bias${part}`];
      const bias = biasBits === undefined ? undefined : decodeFloats(biasType(weights), biasBits);
      for (let row = 0; row < sizes.tokens; row++) {
        for (let column = 0; column < n; column++) {
          const at = row * width + columns[part]! + column;
          const dot = dotBound(x, row * k, weight, column * k, k, spread) + 8 * u * Math.abs(bias?.[column] ?? 0);
          const added = Math.abs(residual?.[at] ?? 0);
          const before = expected[at]! - (residual?.[at] ?? 0);
          bounds[at] =
            dot * largestSlope(activation) +
            activationBound(activation, Math.max(Math.abs(before), 1)) +
            2 * u * (added + Math.abs(before)) +
            rounding * Math.abs(expected[at]!) +
            (out === 'f16' ? 2 ** -24 : 0);
        }
      }
    });
    return (i: number) => bounds[i]!;
  };
}

/** A quantised weight has a bias in a float. */
function biasType(weights: WeightDType): FloatDType {
  return isQuantDType(weights) ? 'f16' : weights;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
