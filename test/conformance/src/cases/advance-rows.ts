import { BATCH_WORDS, ROW_WORDS, SAMPLE_FINITE, SAMPLE_LIVE, SAMPLE_WORDS, SEQUENCE_WORDS } from '@quire/core/contract';
import { exact } from '../checks.ts';
import { group } from '../define.ts';
import { packRecords, sampleRecords, sequenceRecords } from '../scenario.ts';
import { geometries, stepLimits, stepVariants } from '../step-mixes.ts';
import type { CaseGroup } from '../types.ts';

const RING_SLOTS = 3;
const changed = exact('integers, and all other words as they were');

export function advanceRowsCases(): CaseGroup[] {
  return geometries.flatMap(geometry => {
    const { maxRows, maxModelLen, quick, vocab } = geometry;
    return group({
      name: `rows=${maxRows} len=${maxModelLen}`,
      quick,
      maxSizes: stepLimits,
      build(builder) {
        builder.external('batch', 'u32', [1 + maxRows, BATCH_WORDS]);
        builder.external('sequences', 'u32', ['sequences', SEQUENCE_WORDS]);
        builder.external('samples', 'u32', ['samples', SAMPLE_WORDS]);
        builder.external('sampled', 'u32', ['samples', 2]);
        builder.external('rows', 'u32', [maxRows, ROW_WORDS]);
        builder.external('tokenIds', 'u32', [maxRows, maxModelLen]);
        builder.external('ring', 'u32', [RING_SLOTS, maxRows, 2]);
        builder.add({
          op: 'advanceRows',
          batch: 'batch',
          sequences: 'sequences',
          samples: 'samples',
          sampled: 'sampled',
          rows: 'rows',
          tokenIds: 'tokenIds',
          ring: 'ring',
        });
      },
      checks: { rows: changed, tokenIds: changed, ring: changed },
      variants: stepVariants(
        geometry,
        (step, sizes, random) => ({
          batch: step.batch,
          rows: step.rows,
          tokenIds: step.tokenIds,
          sequences: sequenceRecords(step, sizes.sequences),
          samples: sampleRecords(step, geometry, sizes.samples),
          sampled: packRecords(sizes.samples, 2, () => [
            random.integer(0, vocab),
            random.pick([SAMPLE_LIVE, SAMPLE_LIVE | SAMPLE_FINITE]),
          ]),
          ring: Uint32Array.from({ length: RING_SLOTS * maxRows * 2 }, () => random.word()),
        }),
        { trivialWhenSpent: 'no row moves' },
      ),
    });
  });
}
