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
import { layerInput } from './layer-input.ts';
import { columnTiles, gridsOf, integerFragments, integerSums, packedTiles, tilesWithNorm } from './row-tiles.ts';

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

export const linear: Kernel<'linear'> = (op, context) => {
  const x = context.tensor(op.x);
  const weight = context.tensor(op.weight);
  const rows = x.shape[0]!;
  const columns = fixed(weight, 0);
  const { lanes, sums } = context.tuning.linear({ op: op.op, dtype: weight.dtype, columns, depth: fixed(x, 1) });
  const { params, bindings } = operands(op, context);
  const consts = laneConsts(lanes);
  if (fixed(x, 1) % 4 !== 0) {
    const weightDtype = dtypeCode(weight);
    const workgroups = laneGrid(lanes, sizes => sizeOf(rows, sizes) * Math.ceil(columns / 4));
    const spec = { fragments: { lanes: lanes.fragment }, consts, bindings, workgroups };
    return [dispatch('linear/any_depth', { ...spec, params: { ...params, weight_dtype: weightDtype } })];
  }
  const { name: weights, consts: weightConsts } = weightFragment(weight);
  const { few, ...inputs } = layerInput(op, context);
  const spec = { consts: { ...consts, ...weightConsts }, params: { ...params, ...inputs.params } };
  if (sums === 'own') {
    const tiles = tilesWithNorm(columnTiles(lanes, 1), few);
    return gridsOf(tiles, rows, columns, lanes, context).map(([{ tile, input }, workgroups]) => {
      const fragments = { tile, weights, input };
      return dispatch('linear/columns', {
        ...spec,
        fragments,
        bindings: { ...bindings, ...inputs.bindings[input] },
        workgroups,
      });
    });
  }
  if (sums === 'integers' && integerSums({ dtype: weight.dtype, depth: fixed(x, 1) })) {
    const fragments = integerFragments(lanes, weights);
    return gridsOf(tilesWithNorm(packedTiles(8), few), rows, columns, lanes, context).map(
      ([{ input, tileRows }, workgroups]) =>
        dispatch('linear/packed', {
          ...spec,
          consts: { ...spec.consts, TILE_ROWS: tileRows },
          fragments: { ...fragments, input },
          bindings: { ...bindings, ...inputs.bindings[input] },
          workgroups,
        }),
    );
  }
  return gridsOf(tilesWithNorm(shapes, few), rows, columns, lanes, context).map(([{ shader, input }, workgroups]) => {
    const fragments = { lanes: lanes.fragment, weights, input };
    return dispatch(shader, { ...spec, fragments, bindings: { ...bindings, ...inputs.bindings[input] }, workgroups });
  });
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
