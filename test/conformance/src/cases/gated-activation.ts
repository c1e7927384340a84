import type { Activation } from '@quire/core/contract';
import { activationBound } from '../activation-bound.ts';
import { u, within } from '../checks.ts';
import { group } from '../define.ts';
import { floats, patterns } from '../random.ts';
import { rowVariants } from '../row-variants.ts';
import type { CaseGroup } from '../types.ts';

const activations: readonly Activation[] = ['silu', 'gelu', 'geluTanh', 'relu', 'none'];

export function gatedActivationCases(): CaseGroup[] {
  const widths = [1, 33, 96, 704];
  return [
    ...activations.flatMap((activation, a) =>
      widths.flatMap((width, w) => gates(activation, width, 9, [9, 1, 2, 5], (a + w) % 2 === 0)),
    ),
    ...gates('silu', 70_001, 60, [60], false),
  ];
}

function gates(
  activation: Activation,
  width: number,
  tokens: number,
  counts: readonly number[],
  quick: boolean,
): CaseGroup[] {
  return group({
    name: `${activation} width=${width}`,
    quick,
    maxSizes: { tokens },
    ...(width === 1 && { trivial: 'one column' }),
    build(builder) {
      builder.external('x', 'f32', ['tokens', 2 * width]);
      builder.external('out', 'f32', ['tokens', width]);
      builder.add({ op: 'gatedActivation', x: 'x', out: 'out', activation });
    },
    checks: { out: check(activation, width) },
    variants: rowVariants(counts, counts.length > 1 ? patterns.slice(0, 4) : ['normal'], (random, rows, pattern) => ({
      x: floats(random, rows * 2 * width, pattern, 3),
    })),
    guarded: width < 1000,
  });
}

function check(activation: Activation, width: number) {
  return within(
    'exp and tanh of WGSL are good to some units of the last place (see activation-bound.ts); one product',
    ({ inputs, expected }) => {
      const x = inputs.x!;
      return i => {
        const at = Math.floor(i / width) * 2 * width + (i % width);
        return activationBound(activation, x[at]!) * Math.abs(x[at + width]!) + 4 * u * Math.abs(expected[i]!);
      };
    },
  );
}
