import { NONE, SAMPLE_WORDS } from '@quire/core/contract';
import { encodeFloats } from '@quire/core/program';
import { exact } from '../checks.ts';
import { dtypeName, group } from '../define.ts';
import { floats, type Random } from '../random.ts';
import { packRecords } from '../scenario.ts';
import type { CaseGroup, CaseVariant, FloatType } from '../types.ts';

export function gatherRowsCases(): CaseGroup[] {
  const shapes: [width: number, tokens: number, samples: number, quick: boolean, activations?: FloatType][] = [
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
    [96, 20, 9, true, 'bf16'],
    [33, 9, 12, true, 'f16'],
  ];
  return shapes.flatMap(([width, tokens, samples, quick, activations = 'f32']) =>
    group({
      name: `width=${width} tokens=${tokens}${dtypeName(activations)}`,
      quick,
      maxSizes: { tokens, samples },
      build(builder) {
        builder.external('x', activations, ['tokens', width]);
        builder.external('samples', 'u32', ['samples', SAMPLE_WORDS]);
        builder.external('out', activations, ['samples', width]);
        builder.add({ op: 'gatherRows', x: 'x', samples: 'samples', out: 'out' });
      },
      checks: { out: exact('a copy') },
      variants: gathers(width, tokens, samples, activations),
      guarded: samples < 1000 && activations === 'f32',
    }),
  );
}

function gathers(width: number, tokens: number, samples: number, activations: FloatType): CaseVariant[] {
  const variant = (name: string, count: number, token: (random: Random, i: number) => number): CaseVariant => ({
    name,
    sizes: { samples: count },
    ...(width === 1 && count === 1 ? { trivial: 'one value' } : {}),
    fill: random => ({
      x: encodeFloats(activations, floats(random, tokens * width)),
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
