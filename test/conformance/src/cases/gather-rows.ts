import { NONE, SAMPLE_WORDS } from '@quire/core/contract';
import { exact } from '../checks.ts';
import { group } from '../define.ts';
import { floats, type Random } from '../random.ts';
import { packRecords } from '../scenario.ts';
import type { CaseGroup, CaseVariant } from '../types.ts';

export function gatherRowsCases(): CaseGroup[] {
  const shapes: [width: number, tokens: number, samples: number, quick: boolean][] = [
    [64, 20, 9, true],
    [1, 5, 5, true],
    [5, 9, 12, true],
    [80, 33, 17, true],
    [97, 12, 8, true],
    [288, 40, 8, false],
    [768, 64, 16, false],
    [2048, 16, 16, false],
    [3, 200, 130, true],
    [64, 256, 70_000, false],
  ];
  return shapes.flatMap(([width, tokens, samples, quick]) =>
    group({
      name: `width=${width} tokens=${tokens}`,
      quick,
      maxSizes: { tokens, samples },
      build(builder) {
        builder.external('x', 'f32', ['tokens', width]);
        builder.external('samples', 'u32', ['samples', SAMPLE_WORDS]);
        builder.external('out', 'f32', ['samples', width]);
        builder.add({ op: 'gatherRows', x: 'x', samples: 'samples', out: 'out' });
      },
      checks: { out: exact('a copy') },
      variants: gathers(width, tokens, samples),
      guarded: samples < 1000,
    }),
  );
}

function gathers(width: number, tokens: number, samples: number): CaseVariant[] {
  const variant = (name: string, count: number, token: (random: Random, i: number) => number): CaseVariant => ({
    name,
    sizes: { samples: count },
    ...(width === 1 && count === 1 ? { trivial: 'one value' } : {}),
    fill: random => ({
      x: floats(random, tokens * width),
      samples: packRecords(count, SAMPLE_WORDS, i => [token(random, i), 3 * i, i, NONE]),
    }),
  });
  if (samples > 1000) return [variant('more than 65,535 rows', samples, random => random.integer(0, tokens))];
  return [
    variant('random', samples, random => random.integer(0, tokens)),
    variant('one', 1, () => tokens - 1),
    variant('backwards', Math.min(samples, tokens), (_, i) => tokens - 1 - i),
    variant('first and last', Math.ceil(samples / 2), (_, i) => (i % 2) * (tokens - 1)),
    variant('every second', Math.min(samples, Math.ceil(tokens / 2)), (_, i) => 2 * i),
  ];
}
