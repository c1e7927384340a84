import { type Activation, quantDTypes, quantFormats, type WeightDType } from '@quire/core/contract';
import { decodeFloats, encodeFloats } from '@quire/core/program';
import { activationBound, largestSlope } from '../activation-bound.ts';
import { u, unitRoundoff, within } from '../checks.ts';
import { group } from '../define.ts';
import { dotBound } from '../dot-bound.ts';
import { matrix, matrixValues } from '../matrices.ts';
import { floats, type Pattern, type Random } from '../random.ts';
import { rowVariants } from '../row-variants.ts';
import type { CaseGroup, CheckArguments, FloatType } from '../types.ts';

export interface GroupedShape {
  /** Columns of the weight: a multiple of 4. */
  k: number;
  /** Columns of one expert's output. */
  n: number;
  /** All experts, those of them that the weight has, and the first of these. */
  experts: number;
  count?: number;
  first?: number;
  chosen: number;
  weights: WeightDType;
  /** Default f32. */
  activations?: FloatType;
  /** Default silu. */
  activation?: Activation;
  /** Sums of the experts. Default: gated layers side by side. */
  sums?: 'alone' | 'residual' | 'in place';
  counts?: readonly number[];
  kinds?: readonly Pattern[];
  quick?: boolean;
}

const small = ['normal', 'ties', 'sparse'] as const;

export function groupedLinearCases(): CaseGroup[] {
  const mixtures: GroupedShape[] = [
    { k: 64, n: 48, experts: 8, chosen: 2, weights: 'f32', quick: true },
    { k: 64, n: 40, experts: 8, chosen: 2, weights: 'f16', quick: true },
    { k: 64, n: 36, experts: 4, chosen: 3, weights: 'bf16', quick: true },
    { k: 4, n: 1, experts: 1, chosen: 1, weights: 'f32', quick: true },
    { k: 12, n: 5, experts: 16, chosen: 8, weights: 'f16', activation: 'gelu', quick: true },
    { k: 36, n: 7, experts: 5, chosen: 5, weights: 'bf16', activation: 'geluTanh' },
    { k: 128, n: 33, experts: 64, chosen: 6, weights: 'f16', counts: [1, 20], quick: true },
    // Row parts: experts before the first, behind the last, or both are elsewhere.
    { k: 32, n: 12, experts: 8, count: 3, first: 0, chosen: 2, weights: 'f32', quick: true },
    { k: 32, n: 12, experts: 8, count: 3, first: 5, chosen: 2, weights: 'f16', quick: true },
    { k: 32, n: 12, experts: 8, count: 1, first: 3, chosen: 4, weights: 'bf16', quick: true },
    { k: 512, n: 24, experts: 4, chosen: 2, weights: 'f16', counts: [3, 1] },
    { k: 32, n: 40, experts: 4, chosen: 2, weights: 'f32', counts: [65, 130], kinds: ['normal', 'outliers'] },
    { k: 64, n: 24, experts: 4, chosen: 2, weights: 'bf16', activations: 'bf16', quick: true },
    { k: 64, n: 24, experts: 4, chosen: 2, weights: 'f16', activations: 'f16', kinds: small, quick: true },
    { k: 48, n: 20, experts: 6, chosen: 2, weights: 'f32', activations: 'f16', kinds: small },
    ...quantDTypes.map(
      (weights): GroupedShape => ({
        k: 2 * Math.max(quantFormats[weights].group, 32),
        n: 13,
        experts: 5,
        chosen: 2,
        weights,
        kinds: small,
        counts: [1, 6],
        quick: true,
      }),
    ),
  ];
  const sums = (['alone', 'residual', 'in place'] as const).flatMap((kind, i) =>
    mixtures
      .filter((_, at) => i === 1 || at % 3 === i)
      .map((shape): GroupedShape => ({ ...shape, sums: kind, activation: 'none' })),
  );
  return [...mixtures, ...sums].flatMap(grouped);
}

function grouped(shape: GroupedShape): CaseGroup[] {
  const { k, n, experts, count = experts, first = 0, chosen, weights, activations = 'f32', sums } = shape;
  const { counts = [5, 1, 9, 2], kinds = ['normal', 'outliers', 'ties', 'offset'], activation = 'silu' } = shape;
  const [inputs, width, rows] = sums === undefined ? [k, chosen * n, 2 * n] : [chosen * k, n, n];
  // Something of `out` that was there before is there afterwards, or is added to.
  const keeps = sums === 'in place' || (sums === undefined && count < experts);
  const part = count < experts && `experts ${first} .. ${first + count}`;
  const dtype = activations !== 'f32' && `activations=${activations}`;
  const extras = [part, sums === undefined ? activation : `sums ${sums}`, dtype].filter(Boolean);
  return group({
    name: [`K=${k} N=${n} ${weights} ${chosen} of ${experts}`, ...extras].join(' '),
    quick: shape.quick ?? false,
    maxSizes: { tokens: Math.max(...counts) },
    build(builder) {
      builder.external('x', activations, ['tokens', inputs]);
      builder.external('experts', 'u32', ['tokens', chosen]);
      builder.external('weight', weights, [count * rows, k]);
      if (sums !== undefined) builder.external('shares', 'f32', ['tokens', chosen]);
      if (sums === 'residual') builder.external('residual', activations, ['tokens', width]);
      builder.external('out', activations, ['tokens', width]);
      builder.add({
        op: 'groupedLinear',
        x: 'x',
        experts: 'experts',
        weight: 'weight',
        out: 'out',
        ...(sums !== undefined && { shares: 'shares' }),
        ...(sums === 'residual' && { residual: 'residual' }),
        ...(sums === 'in place' && { residual: 'out' }),
        activation,
        firstExpert: first,
      });
    },
    checks: { out: within(groupedReason, groupedBound({ ...shape, count, first }), activations) },
    variants: rowVariants(counts, kinds, (random, tokens, pattern) => ({
      x: encodeFloats(activations, floats(random, tokens * inputs, pattern)),
      experts: choices(random, tokens, { experts, chosen, count, first }),
      weight: matrix(random, weights, count * rows, k),
      ...(sums !== undefined && { shares: Float32Array.from({ length: tokens * chosen }, () => random.uniform()) }),
      ...(sums === 'residual' && { residual: encodeFloats(activations, floats(random, tokens * width)) }),
      ...(keeps && { out: encodeFloats(activations, floats(random, tokens * width)) }),
    })),
    guarded: activations === 'f32' && !keeps,
  });
}

/** Different experts for each token, in any order. Of every second one, one at least is among those of the weight. */
function choices(
  random: Random,
  tokens: number,
  { experts, chosen, count, first }: { experts: number; chosen: number; count: number; first: number },
): Uint32Array<ArrayBuffer> {
  const ids = new Uint32Array(tokens * chosen);
  for (let token = 0; token < tokens; token++) {
    const left = Array.from({ length: experts }, (_, id) => id);
    for (let j = 0; j < chosen; j++) {
      const at = token % 2 === 0 && j === 0 ? first + random.integer(0, count) : random.integer(0, left.length);
      ids[token * chosen + j] = left.splice(at, 1)[0]!;
    }
  }
  return ids;
}

export const groupedReason =
  'dot products in f32 (see dot-bound.ts); of gates through the slope of the activation and the error of that, times the up product; or ' +
  'times the shares, in a sum of as many terms; one rounding to the dtype of out';

/** How far off a value of `out` may be. */
export function groupedBound(shape: GroupedShape & { count: number; first: number }) {
  const { k, n, chosen, count, first, weights, activations = 'f32', activation = 'silu', sums } = shape;
  return ({ inputs, expected, sizes }: Omit<CheckArguments, 'actual'>) => {
    const x = decodeFloats(activations, inputs.x!);
    const weight = matrixValues(weights, inputs.weight!, k);
    const ids = inputs.experts as Uint32Array;
    const width = sums === undefined ? chosen * n : n;
    const rows = sums === undefined ? 2 * n : n;
    const rounding = 2 * (activations === 'f32' ? u : unitRoundoff[activations]);
    const product = (start: number, line: number) => {
      let value = 0;
      for (let i = 0; i < k; i++) value += x[start + i]! * weight[line * k + i]!;
      return { value, error: dotBound(x, start, weight, line * k, k) };
    };
    const bounds = new Float64Array(sizes.tokens * width);
    for (let block = 0; block < sizes.tokens * chosen; block++) {
      const expert = ids[block]! - first;
      if (expert < 0 || expert >= count) continue;
      const token = Math.floor(block / chosen);
      for (let column = 0; column < n; column++) {
        if (sums === undefined) {
          const [gate, up] = [0, n].map(at => product(token * k, expert * rows + at + column)) as [Product, Product];
          const gateError = gate.error * largestSlope(activation) + activationBound(activation, gate.value);
          // No activation is larger than its argument.
          const gated = Math.abs(gate.value) + gateError;
          bounds[block * n + column] = gateError * (Math.abs(up.value) + up.error) + gated * up.error;
        } else {
          const { value, error } = product(block * k, expert * n + column);
          const share = (inputs.shares as Float32Array)[block]!;
          bounds[token * n + column]! += share * (error + 8 * u * chosen * Math.abs(value));
        }
      }
    }
    return (i: number) => {
      const residual = sums === undefined ? 0 : 8 * u * Math.abs(expected[i]!) + (sums === 'alone' ? 0 : 32 * u);
      return bounds[i]! + residual + rounding * Math.abs(expected[i]!) + (activations === 'f16' ? 2 ** -24 : 0);
    };
  };
}

interface Product {
  readonly value: number;
  readonly error: number;
}
