import { exact, u, within } from '../checks.ts';
import { group } from '../define.ts';
import { floats, type Random } from '../random.ts';
import type { CaseGroup, CaseVariant } from '../types.ts';

export function moeRouteCases(): CaseGroup[] {
  const shapes: [experts: number, chosen: number, normalize: boolean, quick: boolean][] = [
    [8, 2, true, true],
    [8, 2, false, true],
    [128, 8, true, true],
    [128, 8, false, true],
    [5, 5, true, true],
    [33, 1, false, true],
    [1, 1, true, false],
    [64, 6, false, false],
    [512, 10, true, false],
    [31, 7, false, false],
  ];
  return shapes.flatMap(([experts, chosen, normalize, quick]) =>
    group({
      name: `experts=${experts} chosen=${chosen}${normalize ? ' normalized' : ''}`,
      quick,
      maxSizes: { tokens: 70 },
      build(builder) {
        builder.external('logits', 'f32', ['tokens', experts]);
        builder.external('experts', 'u32', ['tokens', chosen]);
        builder.external('shares', 'f32', ['tokens', chosen]);
        builder.add({ op: 'moeRoute', logits: 'logits', experts: 'experts', shares: 'shares', normalize });
      },
      checks: {
        experts: exact('logits are compared, not computed'),
        shares: within(
          'exp of a difference d is off by (4 + |d|) u, relative; a sum of them by its length in u',
          ({ expected }) =>
            i =>
              (experts + 40) * 2 * u * expected[i]! + 1e-30,
        ),
      },
      variants: [
        variant('normal', 9, experts, random => floats(random, 9 * experts)),
        variant('one token', 1, experts, random => floats(random, experts)),
        variant('wide', 70, experts, random => Float32Array.from(floats(random, 70 * experts), value => 10 * value)),
        variant('ties', 12, experts, random => Float32Array.from(floats(random, 12 * experts), Math.round)),
        variant('all equal', 3, experts, () => new Float32Array(3 * experts).fill(-2.5)),
        variant('falling', 4, experts, () => turned(experts, place => -place / 8)),
        variant('rising, far apart', 4, experts, () => turned(experts, place => 20 * place)),
      ],
    }),
  );
}

function variant(name: string, tokens: number, experts: number, logits: (random: Random) => Float32Array): CaseVariant {
  return {
    name,
    sizes: { tokens },
    ...(experts === 1 || name === 'all equal' ? { trivial: 'equal logits give equal shares' } : {}),
    fill: random => ({ logits: Float32Array.from(logits(random)) }),
  };
}

/** Four rows, each of which begins some places further. */
function turned(experts: number, value: (place: number) => number): Float32Array {
  return Float32Array.from({ length: 4 * experts }, (_, i) => value((i + 3 * Math.floor(i / experts)) % experts));
}
