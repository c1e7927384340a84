import type { WeightDType } from '@quire/core/contract';
import { exact } from '../checks.ts';
import { group } from '../define.ts';
import { matrix } from '../matrices.ts';
import type { CaseGroup, CaseInputs } from '../types.ts';

/** In a group of one: ids from rowsPerRank on are another rank's, and give zeros. */
export function vocabParallelEmbedCases(): CaseGroup[] {
  const shapes: [parts: readonly number[], rowsPerRank: number, width: number, weights: WeightDType, quick: boolean][] =
    [
      [[50], 50, 64, 'f32', true],
      [[50], 64, 3, 'f16', true],
      [[33, 33, 14], 80, 50, 'f16', true],
      [[64, 1], 65, 31, 'bf16', true],
      [[40, 40], 100, 7, 'f32', true],
      [[256], 256, 192, 'bf16', false],
      [[33, 14], 50, 45, 'q8', true],
      [[40], 48, 96, 'q4_32', true],
      [[30, 20], 50, 384, 'q4_128z', true],
    ];
  return shapes.flatMap(([parts, rowsPerRank, width, weights, quick]) => {
    const firstRows = parts.map((_, i) => parts.slice(0, i).reduce((sum, rows) => sum + rows, 0));
    return group({
      name: `rows=${parts.join('+')} of ${rowsPerRank} width=${width} ${weights}`,
      quick,
      maxSizes: { tokens: 12 },
      build(builder) {
        const ids = builder.external('ids', 'u32', ['tokens']);
        const out = builder.external('out', 'f32', ['tokens', width]);
        parts.forEach((rows, i) => {
          const table = builder.external(`table${i}`, weights, [rows, width]);
          builder.add({ op: 'vocabParallelEmbed', ids, table, out, rowsPerRank, firstRow: firstRows[i]! });
        });
      },
      checks: { out: exact('a copy, or zeros') },
      variants: [12, 1, 2, 5, 8].map(tokens => ({
        name: `tokens=${tokens}`,
        sizes: { tokens },
        fill(random): CaseInputs {
          const tables = parts.map((rows, i) => [`table${i}`, matrix(random, weights, rows, width)]);
          // The first id is always of this rank; of the others every third is of the rank after it.
          const ids = Uint32Array.from({ length: tokens }, (_, t) =>
            t % 3 === 1 ? rowsPerRank + random.integer(0, rowsPerRank) : random.integer(0, rowsPerRank),
          );
          ids[0] = random.integer(0, parts[0]!);
          return { ids, ...Object.fromEntries(tables) };
        },
      })),
    });
  });
}
