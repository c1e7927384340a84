import { dimCode, dispatch, elementGrid, fixed, type Kernel } from '../kernel.ts';

export const pool: Kernel<'pool'> = (op, context) => {
  const sequences = context.tensor(op.sequences);
  const out = context.tensor(op.out);
  const width = fixed(out, 1);
  return [
    dispatch('pool', {
      fragments: {},
      params: { sequences: dimCode(sequences.shape[0]!), width, sum: Number(op.sum) },
      bindings: { x: context.tensor(op.x), sequences, out },
      workgroups: elementGrid(sequences.shape[0]!, width),
    }),
  ];
};
