import type { Activation } from '../../../contract/contract.ts';

/** values[i] = activation(values[i]) for i < count. */
export function activate(activation: Activation, values: Float64Array, count: number): void {
  if (activation === 'none') return;
  const apply = functions[activation];
  for (let i = 0; i < count; i++) values[i] = apply(values[i]!);
}

const functions = {
  relu: x => Math.max(x, 0),
  silu: x => x / (1 + Math.exp(-x)),
  gelu: x => (x / 2) * (1 + erf(x / Math.SQRT2)),
  geluTanh: x => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
} satisfies Record<Exclude<Activation, 'none'>, (x: number) => number>;

/**
 * The error function to f64 precision: erf(x) = 2 / sqrt(pi) exp(-x^2) sum over n of 2^n x^(2n+1) / (1 3 5 .. (2n+1)), whose
 * terms all have one sign (Abramowitz and Stegun 7.1.6). Beyond 6 it is 1 in f64.
 */
export function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > Math.abs(sum) * 2 ** -54; n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}
