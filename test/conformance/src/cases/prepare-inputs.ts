import { BATCH_WORDS, ROW_WORDS, SEQUENCE_WORDS } from '@quire/core/contract';
import { exact } from '../checks.ts';
import { group } from '../define.ts';
import { geometries, stepLimits, stepVariants } from '../step-mixes.ts';
import type { CaseGroup } from '../types.ts';

const integers = exact('integers');

export function prepareInputsCases(): CaseGroup[] {
  return geometries.flatMap(geometry => {
    const { maxRows, maxModelLen, maxBlocks, blockSize, quick } = geometry;
    return group({
      name: `rows=${maxRows} len=${maxModelLen} block=${blockSize}`,
      quick,
      maxSizes: stepLimits,
      build(builder) {
        builder.external('batch', 'u32', [1 + maxRows, BATCH_WORDS]);
        builder.external('rows', 'u32', [maxRows, ROW_WORDS]);
        builder.external('tokenIds', 'u32', [maxRows, maxModelLen]);
        builder.external('blockTables', 'u32', [maxRows, maxBlocks]);
        for (const name of ['inputIds', 'positions', 'slotMapping']) builder.external(name, 'u32', ['tokens']);
        builder.external('sequences', 'u32', ['sequences', SEQUENCE_WORDS]);
        builder.add({
          op: 'prepareInputs',
          batch: 'batch',
          rows: 'rows',
          tokenIds: 'tokenIds',
          blockTables: 'blockTables',
          inputIds: 'inputIds',
          positions: 'positions',
          slotMapping: 'slotMapping',
          sequences: 'sequences',
          blockSize,
        });
      },
      checks: { batch: integers, inputIds: integers, positions: integers, slotMapping: integers, sequences: integers },
      variants: stepVariants(geometry, ({ batch, rows, tokenIds, blockTables }) => ({
        batch,
        rows,
        tokenIds,
        blockTables,
      })),
      guarded: true,
    });
  });
}
