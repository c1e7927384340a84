import { dimCode, dispatch, dtypeCode, fixed, type Kernel, laneConsts, laneGrid, sizeOf } from '../kernel.ts';

const RESIDUAL_NONE = 0;
const RESIDUAL_READ = 1;
const RESIDUAL_IN_SUM = 2;

export const rmsNorm: Kernel<'rmsNorm'> = (op, context) => {
  const taken = context.norms.lanesOf.get(op);
  const lanes = taken ?? context.tuning.lanes;
  const most = taken === undefined ? 0 : context.tuning.fewRows;
  const x = context.tensor(op.x);
  const weight = context.tensor(op.weight);
  const rows = x.shape[0]!;
  const inSum = op.residual !== undefined && op.residual === op.sum;
  const mode = op.residual === undefined ? RESIDUAL_NONE : inSum ? RESIDUAL_IN_SUM : RESIDUAL_READ;
  return [
    dispatch('rms_norm', {
      fragments: { lanes: lanes.fragment },
      consts: laneConsts(lanes),
      params: {
        rows: dimCode(rows),
        width: fixed(x, 1),
        eps: op.eps,
        residual_mode: mode,
        weight_dtype: dtypeCode(weight),
      },
      bindings: {
        x,
        residual: op.residual === undefined || inSum ? 'unused' : context.tensor(op.residual),
        sum: op.sum === undefined ? 'unused' : context.tensor(op.sum),
        out: context.tensor(op.out),
        weight,
      },
      workgroups: laneGrid(lanes, sizes => (sizeOf(rows, sizes) > most ? sizeOf(rows, sizes) : 0)),
    }),
  ];
};
