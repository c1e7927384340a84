import { dispatch, type Kernel } from '../kernel.ts';

export const applyRowDelta: Kernel<'applyRowDelta'> = (op, context) => [
  dispatch('apply_row_delta', {
    fragments: {},
    params: {},
    bindings: {
      delta: context.tensor(op.delta),
      rows: context.tensor(op.rows),
      block_tables: context.tensor(op.blockTables),
      token_ids: context.tensor(op.tokenIds),
      batch: context.tensor(op.batch),
      biases: context.tensor(op.biases),
    },
    workgroups: sizes => sizes.deltaSegments,
  }),
];
