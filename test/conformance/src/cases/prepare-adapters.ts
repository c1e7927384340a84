import { NONE, ROW_WORDS, Row, SEQUENCE_WORDS } from '@quire/core/contract';
import { exact } from '../checks.ts';
import { group } from '../define.ts';
import type { Random } from '../random.ts';
import { sequenceRecords } from '../scenario.ts';
import { geometries, stepLimits, stepVariants } from '../step-mixes.ts';
import type { CaseGroup } from '../types.ts';

export function prepareAdaptersCases(): CaseGroup[] {
  return geometries.flatMap(geometry => {
    const { maxRows, quick } = geometry;
    return group({
      name: `rows=${maxRows}`,
      quick,
      maxSizes: stepLimits,
      build(builder) {
        builder.external('sequences', 'u32', ['sequences', SEQUENCE_WORDS]);
        builder.external('rows', 'u32', [maxRows, ROW_WORDS]);
        builder.external('adapters', 'u32', ['tokens']);
        builder.add({ op: 'prepareAdapters', sequences: 'sequences', rows: 'rows', adapters: 'adapters' });
      },
      checks: { adapters: exact('integers') },
      variants: stepVariants(
        geometry,
        (step, sizes, random) => ({
          sequences: sequenceRecords(step, sizes.sequences),
          rows: withAdapters(step.rows, random),
        }),
        { trivialWhenSpent: 'no token has an adapter' },
      ).map(variant =>
        variant.name.startsWith('one ') ? { ...variant, trivial: 'one sequence, one adapter' } : variant,
      ),
      guarded: true,
    });
  });
}

/** One row in five has none. */
function withAdapters(rows: Uint32Array, random: Random): Uint32Array {
  const given = rows.slice();
  for (let at = Row.adapter; at < given.length; at += ROW_WORDS) {
    given[at] = random.integer(0, 5) === 0 ? NONE : random.integer(0, 8);
  }
  return given;
}
