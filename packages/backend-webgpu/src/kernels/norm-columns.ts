import { dimCode, dispatch, dtypeCode, fixed, type Kernel, laneConsts, laneGrid, sizeOf } from '../kernel.ts';

export const normColumns: Kernel<'normColumns'> = (op, context) => {
  const { lanes } = context.tuning;
  const x = context.tensor(op.x);
  const weight = context.tensor(op.weight);
  const rows = x.shape[0]!;
  return [
    dispatch('norm_columns', {
      fragments: { lanes: lanes.fragment },
      consts: laneConsts(lanes),
      params: {
        rows: dimCode(rows),
        stride: fixed(x, 1),
        first: op.column,
        width: fixed(weight, 0),
        eps: op.eps,
        weight_dtype: dtypeCode(weight),
      },
      bindings: { x, weight },
      workgroups: laneGrid(lanes, sizes => sizeOf(rows, sizes)),
    }),
  ];
};
