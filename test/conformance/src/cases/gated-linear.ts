import { type Activation, isQuantDType, quantDTypes, quantFormats, type WeightDType } from '@quire/core/contract';
import { decodeFloats, encodeFloats } from '@quire/core/program';
import { activationBound, largestSlope } from '../activation-bound.ts';
import { u, unitRoundoff, within } from '../checks.ts';
import { group } from '../define.ts';
import { dotBound } from '../dot-bound.ts';
import { type LinearInput, plainInput } from '../linear-input.ts';
import { matrix, matrixValues } from '../matrices.ts';
import { floats, type Pattern } from '../random.ts';
import { rowVariants } from '../row-variants.ts';
import type { CaseGroup, CheckArguments, FloatType } from '../types.ts';

export interface GatedLinearShape {
  k: number;
  /** Columns of out: half the rows of the weight. */
  n: number;
  weights: WeightDType;
  /** Default f32. */
  activations?: FloatType;
  bias?: boolean;
  /** Default silu. */
  activation?: Activation;
  counts?: readonly number[];
  kinds?: readonly Pattern[];
  quick?: boolean;
}

const few = { counts: [1, 3], kinds: ['normal', 'outliers'] as const };
const small = ['normal', 'ties', 'sparse'] as const;

export function gatedLinearCases(): CaseGroup[] {
  const shapes: GatedLinearShape[] = [
    { k: 64, n: 64, weights: 'f32', quick: true },
    { k: 64, n: 48, weights: 'f16', quick: true },
    { k: 64, n: 72, weights: 'bf16', quick: true },
    { k: 1, n: 1, weights: 'f32' },
    { k: 3, n: 5, weights: 'f32', bias: true, quick: true },
    { k: 7, n: 9, weights: 'f16', bias: true, quick: true },
    { k: 5, n: 3, weights: 'bf16', bias: true, quick: true },
    { k: 33, n: 31, weights: 'f16' },
    { k: 66, n: 41, weights: 'bf16', activation: 'gelu' },
    { k: 80, n: 33, weights: 'f32', bias: true, activation: 'relu', quick: true },
    { k: 96, n: 50, weights: 'f16', bias: true, activation: 'gelu', quick: true },
    { k: 48, n: 100, weights: 'bf16', activation: 'geluTanh', quick: true },
    { k: 100, n: 47, weights: 'f32', bias: true, activation: 'none' },
    { k: 192, n: 512, weights: 'f16', ...few, quick: true },
    { k: 2048, n: 66, weights: 'f16', ...few },
    { k: 4096, n: 34, weights: 'bf16', ...few },
    // Wide prefill: more rows than any tile.
    { k: 64, n: 96, weights: 'f32', counts: [65, 33, 64, 17], kinds: ['normal', 'outliers'], quick: true },
    { k: 96, n: 65, weights: 'f16', bias: true, counts: [129, 31, 66, 128], kinds: ['normal', 'offset'] },
    { k: 4, n: 4, weights: 'f32', counts: [70_000], kinds: ['normal'] },
    { k: 24, n: 24, weights: 'f32', counts: [3], kinds: ['zeros'] },
    // 16-bit throughout, as on tensor cores. Products of large values overflow f16.
    { k: 64, n: 72, weights: 'f16', activations: 'f16', kinds: small, quick: true },
    { k: 128, n: 40, weights: 'bf16', activations: 'bf16', bias: true, quick: true },
    { k: 264, n: 33, weights: 'bf16', activations: 'bf16', activation: 'geluTanh' },
    { k: 71, n: 20, weights: 'f16', activations: 'f16', bias: true, kinds: small },
    { k: 96, n: 136, weights: 'f16', activations: 'f16', counts: [130, 64, 65], kinds: small },
    { k: 96, n: 40, weights: 'f32', activations: 'f16', kinds: small },
    ...quantDTypes.flatMap((weights): GatedLinearShape[] => {
      const group = Math.max(quantFormats[weights].group, 32);
      return [
        { k: 3 * group, n: 33, weights, bias: true, kinds: small, quick: true },
        { k: 2 * group, n: 41, weights, activations: 'bf16', kinds: small, quick: true },
        { k: 5 * group, n: 70, weights, activations: 'f16', counts: [66, 17, 3], kinds: ['sparse'] },
      ];
    }),
    { k: 21, n: 9, weights: 'q8', bias: true, kinds: small, quick: true },
  ];
  return shapes.flatMap(gates);
}

function gates(shape: GatedLinearShape): CaseGroup[] {
  const { k, n, weights, activations = 'f32', bias = false, activation = 'silu', quick = false } = shape;
  const { counts = [9, 1, 4, 2, 5], kinds = ['normal', 'outliers', 'ties', 'offset'] } = shape;
  const biasType = isQuantDType(weights) ? 'f16' : weights;
  const extras = [bias && 'bias', activation, activations !== 'f32' && `activations=${activations}`].filter(Boolean);
  return group({
    name: [`K=${k} N=2x${n} ${weights}`, ...extras].join(' '),
    quick,
    maxSizes: { tokens: Math.max(...counts) },
    build(builder) {
      builder.external('x', activations, ['tokens', k]);
      builder.external('weight', weights, [2 * n, k]);
      if (bias) builder.external('bias', biasType, [2 * n]);
      builder.external('out', activations, ['tokens', n]);
      const tensors = { x: 'x', weight: 'weight', out: 'out', ...(bias && { bias: 'bias' }) };
      builder.add({ op: 'gatedLinear', ...tensors, activation });
    },
    checks: { out: gatedLinearCheck(shape) },
    variants: rowVariants(counts, kinds, (random, rows, pattern) => ({
      x: encodeFloats(activations, floats(random, rows * k, pattern)),
      weight: matrix(random, weights, 2 * n, k),
      ...(bias && { bias: encodeFloats(biasType, floats(random, 2 * n)) }),
    })),
    guarded: activations === 'f32' && n * Math.max(...counts) < 1e5,
  });
}

const reason =
  'gate and up are dot products in f32 (see dot-bound.ts), the gate goes through the slope of its activation and the error of ' +
  'that (see activation-bound.ts), the error of either is multiplied by the other; one rounding to the dtype of out';

/** `input` gives what the product has for its x. */
export function gatedLinearCheck(shape: GatedLinearShape, input: LinearInput = plainInput) {
  const { k, n, weights, activations = 'f32', activation = 'silu' } = shape;
  const prepare = ({ inputs, expected, sizes }: Omit<CheckArguments, 'actual'>) => {
    const { x, spread } = input(inputs, activations, k);
    const weight = matrixValues(weights, inputs.weight!, k);
    const biasType = isQuantDType(weights) ? 'f16' : weights;
    const bias = inputs.bias === undefined ? undefined : decodeFloats(biasType, inputs.bias);
    const product = (row: number, line: number) => {
      let value = bias?.[line] ?? 0;
      for (let i = 0; i < k; i++) value += x[row * k + i]! * weight[line * k + i]!;
      const error = dotBound(x, row * k, weight, line * k, k, spread) + 8 * u * Math.abs(bias?.[line] ?? 0);
      return { value, error };
    };
    const bounds = new Float64Array(sizes.tokens * n);
    for (let row = 0; row < sizes.tokens; row++) {
      for (let column = 0; column < n; column++) {
        const [gate, up] = [product(row, column), product(row, n + column)];
        const gateError = gate.error * largestSlope(activation) + activationBound(activation, gate.value);
        // No activation is larger than its argument.
        const gated = Math.abs(gate.value) + gateError;
        const rounding = 2 * (activations === 'f32' ? u : unitRoundoff[activations]);
        const at = row * n + column;
        bounds[at] =
          gateError * (Math.abs(up.value) + up.error) + gated * up.error + rounding * Math.abs(expected[at]!);
      }
    }
    return (i: number) => bounds[i]! + (activations === 'f16' ? 2 ** -24 : 0);
  };
  return within(reason, prepare, activations);
}
