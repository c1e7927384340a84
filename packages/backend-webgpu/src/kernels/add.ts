import { dimCode, dispatch, elementGrid, fixed, type Kernel } from '../kernel.ts';

export const add: Kernel<'add'> = (op, context) => {
  const out = context.tensor(op.out);
  const width = fixed(out, 1);
  const inPlace = op.out === op.a;
  return [
    dispatch('add', {
      fragments: {},
      params: { rows: dimCode(out.shape[0]!), width, in_place: Number(inPlace) },
      bindings: { a: inPlace ? 'unused' : context.tensor(op.a), b: context.tensor(op.b), out },
      workgroups: elementGrid(out.shape[0]!, width),
    }),
  ];
};
