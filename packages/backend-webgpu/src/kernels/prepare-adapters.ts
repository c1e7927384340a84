import { dimCode, dispatch, elementGrid, type Kernel } from '../kernel.ts';

export const prepareAdapters: Kernel<'prepareAdapters'> = (op, context) => {
  const sequences = context.tensor(op.sequences);
  const adapters = context.tensor(op.adapters);
  const [tokens] = adapters.shape;
  return [
    dispatch('prepare_adapters', {
      fragments: {},
      params: { sequences: dimCode(sequences.shape[0]!), tokens: dimCode(tokens!) },
      bindings: { sequences, rows: context.tensor(op.rows), adapters },
      workgroups: elementGrid(tokens!, 1),
    }),
  ];
};
