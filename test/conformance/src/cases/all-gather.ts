import { exact } from '../checks.ts';
import { group } from '../define.ts';
import { floats, patterns } from '../random.ts';
import { rowVariants } from '../row-variants.ts';
import type { CaseGroup } from '../types.ts';

/** In a group of one: the columns of rank 0, and no others. */
export function allGatherCases(): CaseGroup[] {
  const shapes: [width: number, whole: number, quick: boolean][] = [
    [1, 1, false],
    [3, 3, true],
    [64, 64, true],
    [64, 100, true],
    [97, 193, false],
    [256, 1024, false],
    [1000, 1000, true],
  ];
  return shapes.flatMap(([width, whole, quick]) =>
    group({
      name: `width=${width} of ${whole}`,
      quick,
      maxSizes: { samples: 7 },
      ...(width === 1 && { trivial: 'one column' }),
      build(builder) {
        builder.external('x', 'f32', ['samples', width]);
        builder.external('out', 'f32', ['samples', whole]);
        builder.add({ op: 'allGather', x: 'x', out: 'out' });
      },
      checks: { out: exact('a copy') },
      variants: rowVariants([7, 1, 2, 5], patterns, (random, rows, pattern) => ({
        x: floats(random, rows * width, pattern),
      })).map(variant => ({ ...variant, sizes: { samples: variant.sizes?.tokens ?? 0 } })),
      guarded: width === whole,
    }),
  );
}
