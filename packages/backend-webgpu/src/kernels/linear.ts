import { NONE, type OpOf } from '@quire/core/contract';
import {
  activationCode,
  type Dispatch,
  dimCode,
  dispatch,
  dtypeCode,
  fixed,
  type Kernel,
  type KernelContext,
  laneConsts,
  laneGrid,
  sizeOf,
  type WeightsName,
} from '../kernel.ts';

const RESIDUAL_NONE = 0;
const RESIDUAL_READ = 1;
const RESIDUAL_IN_OUT = 2;

/**
 * A step with one row takes linear/matvec, every other one linear/tile. Both add along depth in the same order, so that a row
 * comes out the same in every batch.
 */
export const linear: Kernel<'linear'> = (op, context) => {
  const { tuning } = context;
  const x = context.tensor(op.x);
  const rows = x.shape[0]!;
  const columns = fixed(context.tensor(op.weight), 0);
  const { params, bindings } = operands(op, context);
  const fragments = { lanes: tuning.lanes };
  const consts = laneConsts(tuning);
  const grid = (count: (rows: number) => number) => laneGrid(tuning, sizes => count(sizeOf(rows, sizes)));
  if (fixed(x, 1) % 4 !== 0) {
    const weightDtype = dtypeCode(context.tensor(op.weight));
    const workgroups = grid(count => count * Math.ceil(columns / 4));
    const spec = { fragments, consts, bindings, workgroups };
    return [dispatch('linear/any_depth', { ...spec, params: { ...params, weight_dtype: weightDtype } })];
  }
  const weights = `weights_${context.tensor(op.weight).dtype}` as WeightsName;
  const spec = { fragments: { ...fragments, weights }, consts, params, bindings };
  const dispatches: Dispatch[] = [];
  const matvec = grid(count => (count === 1 ? Math.ceil(columns / 8) : 0));
  const tile = grid(count => (count === 1 ? 0 : Math.ceil(count / 4) * Math.ceil(columns / 4)));
  if (rows === 1 || typeof rows !== 'number')
    dispatches.push(dispatch('linear/matvec', { ...spec, workgroups: matvec }));
  if (rows !== 1) dispatches.push(dispatch('linear/tile', { ...spec, workgroups: tile }));
  return dispatches;
};

function operands(op: OpOf<'linear'>, context: KernelContext) {
  const x = context.tensor(op.x);
  const weight = context.tensor(op.weight);
  const out = context.tensor(op.out);
  const inOut = op.residual === op.out;
  const bias = op.bias === undefined ? undefined : context.tensor(op.bias);
  const params = {
    rows: dimCode(x.shape[0]!),
    columns: fixed(weight, 0),
    depth: fixed(x, 1),
    width: fixed(out, 1),
    out_column: op.outColumn,
    bias_dtype: bias === undefined ? NONE : dtypeCode(bias),
    activation: activationCode(op.activation),
    residual_mode: op.residual === undefined ? RESIDUAL_NONE : inOut ? RESIDUAL_IN_OUT : RESIDUAL_READ,
  };
  const bindings = {
    x,
    weight,
    out,
    residual: op.residual === undefined || inOut ? ('unused' as const) : context.tensor(op.residual),
    bias: bias ?? ('unused' as const),
  };
  return { params, bindings };
}
