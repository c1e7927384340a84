/** prepareInputs and prepareSamples behind it, on the same batch. */
import { BATCH_WORDS, ROW_WORDS, SAMPLE_WORDS, SEQUENCE_WORDS } from '@quire/core/contract';
import { exact } from '../checks.ts';
import { group } from '../define.ts';
import { geometries, stepLimits, stepVariants } from '../step-mixes.ts';
import type { CaseGroup } from '../types.ts';

const integers = exact('integers');

export function preparationCases(): CaseGroup[] {
  return geometries.flatMap(geometry => {
    const { maxRows, maxModelLen, maxBlocks, blockSize, quick } = geometry;
    return group({
      name: `prepareInputs, prepareSamples rows=${maxRows} len=${maxModelLen}`,
      quick,
      maxSizes: stepLimits,
      build(builder) {
        builder.external('batch', 'u32', [1 + maxRows, BATCH_WORDS]);
        builder.external('rows', 'u32', [maxRows, ROW_WORDS]);
        builder.external('tokenIds', 'u32', [maxRows, maxModelLen]);
        builder.external('blockTables', 'u32', [maxRows, maxBlocks]);
        for (const name of ['inputIds', 'positions', 'slotMapping']) builder.external(name, 'u32', ['tokens']);
        builder.external('sequences', 'u32', ['sequences', SEQUENCE_WORDS]);
        builder.external('samples', 'u32', ['samples', SAMPLE_WORDS]);
        const shared = { batch: 'batch', tokenIds: 'tokenIds', sequences: 'sequences' };
        const inputs = { inputIds: 'inputIds', positions: 'positions', slotMapping: 'slotMapping' };
        const state = { rows: 'rows', blockTables: 'blockTables', blockSize };
        builder.add({ op: 'prepareInputs', ...shared, ...state, ...inputs });
        builder.add({ op: 'prepareSamples', ...shared, samples: 'samples' });
      },
      checks: {
        batch: integers,
        inputIds: integers,
        positions: integers,
        slotMapping: integers,
        sequences: integers,
        samples: integers,
      },
      variants: stepVariants(geometry, ({ batch, rows, tokenIds, blockTables }) => ({
        batch,
        rows,
        tokenIds,
        blockTables,
      })),
    });
  });
}
