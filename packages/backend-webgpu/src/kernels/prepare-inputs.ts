import { dimCode, dispatch, fixed, type Kernel, sizeOf } from '../kernel.ts';

export const prepareInputs: Kernel<'prepareInputs'> = (op, context) => {
  const inputIds = context.tensor(op.inputIds);
  const sequences = context.tensor(op.sequences);
  const tokenIds = context.tensor(op.tokenIds);
  const blockTables = context.tensor(op.blockTables);
  return [
    dispatch('prepare_inputs', {
      fragments: {},
      params: {
        tokens: dimCode(inputIds.shape[0]!),
        sequences: dimCode(sequences.shape[0]!),
        max_tokens: fixed(tokenIds, 1),
        max_blocks: fixed(blockTables, 1),
        block_size: op.blockSize,
      },
      bindings: {
        batch: context.tensor(op.batch),
        rows: context.tensor(op.rows),
        token_ids: tokenIds,
        block_tables: blockTables,
        input_ids: inputIds,
        positions: context.tensor(op.positions),
        slot_mapping: context.tensor(op.slotMapping),
        sequences,
      },
      workgroups: sizes => Math.max(1, sizeOf(sequences.shape[0]!, sizes)),
    }),
  ];
};
