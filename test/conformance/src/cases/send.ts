import { exact } from '../checks.ts';
import { group } from '../define.ts';
import { floats, patterns } from '../random.ts';
import { rowVariants } from '../row-variants.ts';
import type { CaseGroup } from '../types.ts';

/** In a pipeline of one stage, what is sent comes back: a copy. */
export function sendCases(): CaseGroup[] {
  return roundTrips([
    [1, false],
    [3, true],
    [64, true],
    [97, true],
    [192, false],
    [1000, false],
  ]);
}

/** A send and the recv that takes it, by width. */
export function roundTrips(widths: readonly (readonly [width: number, quick: boolean])[]): CaseGroup[] {
  return widths.flatMap(([width, quick]) =>
    group({
      name: `width=${width}`,
      quick,
      maxSizes: { tokens: 9 },
      ...(width === 1 && { trivial: 'one column' }),
      build(builder) {
        builder.external('x', 'f32', ['tokens', width]);
        builder.external('out', 'f32', ['tokens', width]);
        builder.add({ op: 'send', x: 'x', toStage: 0 });
        builder.add({ op: 'recv', out: 'out', fromStage: 0 });
      },
      checks: { out: exact('a copy') },
      variants: rowVariants([9, 1, 4, 8], patterns, (random, rows, pattern) => ({
        x: floats(random, rows * width, pattern),
      })),
      guarded: true,
    }),
  );
}
