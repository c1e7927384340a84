import { dimCode, dispatch, elementGrid, fixed, type Kernel } from '../kernel.ts';

export const advanceRows: Kernel<'advanceRows'> = (op, context) => {
  const sequences = context.tensor(op.sequences);
  const tokenIds = context.tensor(op.tokenIds);
  const ring = context.tensor(op.ring);
  return [
    dispatch('advance_rows', {
      fragments: {},
      params: {
        sequences: dimCode(sequences.shape[0]!),
        max_rows: fixed(ring, 1),
        max_tokens: fixed(tokenIds, 1),
        ring_slots: fixed(ring, 0),
      },
      bindings: {
        batch: context.tensor(op.batch),
        sequences,
        samples: context.tensor(op.samples),
        sampled: context.tensor(op.sampled),
        rows: context.tensor(op.rows),
        token_ids: tokenIds,
        ring,
      },
      workgroups: elementGrid(sequences.shape[0]!, 1),
    }),
  ];
};
