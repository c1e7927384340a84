import { dimCode, dispatch, dtypeCode, fixed, type Kernel, laneConsts, laneGrid, sizeOf } from '../kernel.ts';

export const layerNorm: Kernel<'layerNorm'> = (op, context) => {
  const { lanes } = context.tuning;
  const x = context.tensor(op.x);
  const weight = context.tensor(op.weight);
  const rows = x.shape[0]!;
  return [
    dispatch('layer_norm', {
      fragments: { lanes: lanes.fragment },
      consts: laneConsts(lanes),
      params: {
        rows: dimCode(rows),
        width: fixed(x, 1),
        eps: op.eps,
        weight_dtype: dtypeCode(weight),
        has_bias: Number(op.bias !== undefined),
      },
      bindings: {
        x,
        out: context.tensor(op.out),
        weight,
        bias: op.bias === undefined ? 'unused' : context.tensor(op.bias),
      },
      workgroups: laneGrid(lanes, sizes => sizeOf(rows, sizes)),
    }),
  ];
};
