import { dimCode, dispatch, elementGrid, fixed, type Kernel } from '../kernel.ts';

export const scale: Kernel<'scale'> = (op, context) => {
  const out = context.tensor(op.out);
  const width = fixed(out, 1);
  const inPlace = op.out === op.x;
  return [
    dispatch('scale', {
      fragments: {},
      params: {
        rows: dimCode(out.shape[0]!),
        width,
        factor: op.factor,
        soft_cap: op.softCap,
        in_place: Number(inPlace),
      },
      bindings: { x: inPlace ? 'unused' : context.tensor(op.x), out },
      workgroups: elementGrid(out.shape[0]!, width),
    }),
  ];
};
