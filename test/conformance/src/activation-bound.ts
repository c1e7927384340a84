import type { Activation } from '@quire/core/contract';

/**
 * How far an activation computed in f32 may be from its true value at x. WGSL allows exp 3 + 2|x| units of the last place and
 * tanh 1e-5; adapters measured 15 units for silu in [-20, 20] and 1.5e-7 for tanh. gelu's erf is a polynomial good to 1e-6. Where exp(-x) would overflow, silu is as small as its
 * clamped exponent makes it.
 */
export function activationBound(activation: Activation, x: number): number {
  switch (activation) {
    case 'none':
    case 'relu':
      return 0;
    case 'silu':
      return 4e-6 * Math.abs(x) * Math.min(1, Math.exp(x)) + 1e-27;
    case 'gelu':
    case 'geluTanh':
      return 2e-6 * Math.max(1, Math.abs(x));
  }
}

/** How much an error of the argument grows through an activation: the largest slope. */
export function largestSlope(activation: Activation): number {
  return activation === 'none' || activation === 'relu' ? 1 : 1.13;
}
