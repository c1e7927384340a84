import { activationCode, dimCode, dispatch, elementGrid, fixed, type Kernel } from '../kernel.ts';

export const gatedActivation: Kernel<'gatedActivation'> = (op, context) => {
  const out = context.tensor(op.out);
  const width = fixed(out, 1);
  return [
    dispatch('gated_activation', {
      fragments: {},
      params: { rows: dimCode(out.shape[0]!), width, activation: activationCode(op.activation) },
      bindings: { x: context.tensor(op.x), out },
      workgroups: elementGrid(out.shape[0]!, width),
    }),
  ];
};
