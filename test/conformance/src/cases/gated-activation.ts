import type { Activation } from '@quire/core/contract';
import { encodeFloats } from '@quire/core/program';
import { activationBound } from '../activation-bound.ts';
import { u, withinRounded } from '../checks.ts';
import { dtypeName, group } from '../define.ts';
import { floats, halfPatterns, patterns } from '../random.ts';
import { rowVariants } from '../row-variants.ts';
import type { CaseGroup, FloatType } from '../types.ts';

const kinds: readonly Activation[] = ['silu', 'gelu', 'geluTanh', 'relu', 'none'];

interface Shape {
  activation: Activation;
  width: number;
  tokens: number;
  counts: readonly number[];
  quick: boolean;
  /** Default f32. */
  activations?: FloatType;
}
const small = { tokens: 9, counts: [9, 1, 2, 5] };

export function gatedActivationCases(): CaseGroup[] {
  const widths = [1, 33, 96, 704];
  return [
    ...kinds.flatMap((activation, a) =>
      widths.flatMap((width, w) => gates({ ...small, activation, width, quick: (a + w) % 2 === 0 })),
    ),
    ...gates({ activation: 'silu', width: 70_001, tokens: 60, counts: [60], quick: false }),
    ...gates({ ...small, activation: 'silu', width: 96, activations: 'bf16', quick: true }),
    ...gates({ ...small, activation: 'geluTanh', width: 33, activations: 'f16', quick: true }),
    ...gates({ ...small, activation: 'gelu', width: 704, activations: 'bf16', quick: false }),
  ];
}

function gates({ activation, width, tokens, counts, quick, activations = 'f32' }: Shape): CaseGroup[] {
  const someKinds = (activations === 'f16' ? halfPatterns : patterns).slice(0, 4);
  return group({
    name: `${activation} width=${width}${dtypeName(activations)}`,
    quick,
    maxSizes: { tokens },
    ...(width === 1 && { trivial: 'one column' }),
    build(builder) {
      builder.external('x', activations, ['tokens', 2 * width]);
      builder.external('out', activations, ['tokens', width]);
      builder.add({ op: 'gatedActivation', x: 'x', out: 'out', activation });
    },
    checks: { out: check(activation, width, activations) },
    variants: rowVariants(counts, counts.length > 1 ? someKinds : ['normal'], (random, rows, pattern) => ({
      // Products of outliers stay in the range of f16.
      x: encodeFloats(activations, floats(random, rows * 2 * width, pattern, activations === 'f16' ? 2 ** -5 : 3)),
    })),
    guarded: width < 1000 && activations === 'f32',
  });
}

function check(activation: Activation, width: number, activations: FloatType) {
  return withinRounded(
    'exp and tanh of WGSL are good to some units of the last place (see activation-bound.ts); one product',
    activations,
    ['x'],
    ({ inputs, expected }) => {
      const x = inputs.x!;
      return i => {
        const at = Math.floor(i / width) * 2 * width + (i % width);
        return activationBound(activation, x[at]!) * Math.abs(x[at + width]!) + 4 * u * Math.abs(expected[i]!);
      };
    },
  );
}
