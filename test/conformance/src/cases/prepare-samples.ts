import { BATCH_WORDS, SAMPLE_WORDS, SEQUENCE_WORDS } from '@quire/core/contract';
import { exact } from '../checks.ts';
import { group } from '../define.ts';
import { sequenceRecords } from '../scenario.ts';
import { geometries, stepLimits, stepVariants } from '../step-mixes.ts';
import type { CaseGroup } from '../types.ts';

export function prepareSamplesCases(): CaseGroup[] {
  return geometries.flatMap(geometry => {
    const { maxRows, maxModelLen, quick } = geometry;
    return group({
      name: `rows=${maxRows} len=${maxModelLen}`,
      quick,
      maxSizes: stepLimits,
      build(builder) {
        builder.external('batch', 'u32', [1 + maxRows, BATCH_WORDS]);
        builder.external('sequences', 'u32', ['sequences', SEQUENCE_WORDS]);
        builder.external('tokenIds', 'u32', [maxRows, maxModelLen]);
        builder.external('samples', 'u32', ['samples', SAMPLE_WORDS]);
        builder.add({
          op: 'prepareSamples',
          batch: 'batch',
          sequences: 'sequences',
          tokenIds: 'tokenIds',
          samples: 'samples',
        });
      },
      checks: { samples: exact('integers') },
      variants: stepVariants(
        geometry,
        (step, sizes) => ({
          batch: step.batch,
          tokenIds: step.tokenIds,
          sequences: sequenceRecords(step, sizes.sequences),
        }),
        { sampling: true },
      ),
      guarded: true,
    });
  });
}
