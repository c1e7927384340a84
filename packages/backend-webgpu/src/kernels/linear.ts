import { NONE, type OpOf } from '@quire/core/contract';
import {
  activationCode,
  dimCode,
  dispatch,
  dtypeCode,
  fixed,
  type Kernel,
  type KernelContext,
  laneConsts,
  laneGrid,
  sizeOf,
  weightFragment,
} from '../kernel.ts';
import { columnTiles, gridsOf } from './row-tiles.ts';

const RESIDUAL_NONE = 0;
const RESIDUAL_READ = 1;
const RESIDUAL_IN_OUT = 2;

/**
 * The kernel that takes a step depends on its number of rows. Those of one list add along depth in the same order, so that a row
 * comes out the same in every batch.
 */
const shapes = [
  { shader: 'linear/matvec', fewest: 1, up: 1, tileRows: 1, tileColumns: 8 },
  { shader: 'linear/tile_4', fewest: 2, up: 4, tileRows: 4, tileColumns: 4 },
  { shader: 'linear/tile_8', fewest: 5, up: Infinity, tileRows: 8, tileColumns: 4 },
] as const;
const COLUMNS_PER_LANE = 2;

export const linear: Kernel<'linear'> = (op, context) => {
  const { lanes, linearLanes } = context.tuning;
  const x = context.tensor(op.x);
  const rows = x.shape[0]!;
  const columns = fixed(context.tensor(op.weight), 0);
  const { params, bindings } = operands(op, context);
  const consts = laneConsts(lanes);
  if (fixed(x, 1) % 4 !== 0) {
    const weightDtype = dtypeCode(context.tensor(op.weight));
    const workgroups = laneGrid(lanes, sizes => sizeOf(rows, sizes) * Math.ceil(columns / 4));
    const spec = { fragments: { lanes: lanes.fragment }, consts, bindings, workgroups };
    return [dispatch('linear/any_depth', { ...spec, params: { ...params, weight_dtype: weightDtype } })];
  }
  const { name: weights, consts: weightConsts } = weightFragment(context.tensor(op.weight));
  const spec = { consts: { ...consts, ...weightConsts }, params, bindings };
  if (linearLanes === 'columns') {
    return gridsOf(columnTiles(lanes, COLUMNS_PER_LANE), rows, columns, context).map(([{ tile }, workgroups]) =>
      dispatch('linear/columns', { ...spec, fragments: { tile, weights }, workgroups }),
    );
  }
  const fragments = { lanes: lanes.fragment, weights };
  return gridsOf(shapes, rows, columns, context).map(([{ shader }, workgroups]) =>
    dispatch(shader, { ...spec, fragments, workgroups }),
  );
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
