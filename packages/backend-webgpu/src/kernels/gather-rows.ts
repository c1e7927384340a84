import { dimCode, dispatch, elementGrid, fixed, type Kernel } from '../kernel.ts';

export const gatherRows: Kernel<'gatherRows'> = (op, context) => {
  const out = context.tensor(op.out);
  const width = fixed(out, 1);
  return [
    dispatch('gather_rows', {
      fragments: {},
      params: { samples: dimCode(out.shape[0]!), width },
      bindings: { x: context.tensor(op.x), samples: context.tensor(op.samples), out },
      workgroups: elementGrid(out.shape[0]!, width),
    }),
  ];
};
