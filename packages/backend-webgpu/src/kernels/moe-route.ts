import { dimCode, dispatch, elementGrid, fixed, type Kernel } from '../kernel.ts';

export const moeRoute: Kernel<'moeRoute'> = (op, context) => {
  const logits = context.tensor(op.logits);
  const experts = context.tensor(op.experts);
  const rows = logits.shape[0]!;
  return [
    dispatch('moe_route', {
      fragments: {},
      params: {
        rows: dimCode(rows),
        experts: fixed(logits, 1),
        chosen: fixed(experts, 1),
        normalize: Number(op.normalize),
      },
      bindings: { logits, experts, shares: context.tensor(op.shares) },
      workgroups: elementGrid(rows, 1),
    }),
  ];
};
