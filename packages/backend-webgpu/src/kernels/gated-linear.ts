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

/** The kernel that a step takes depends on its number of rows. Those of one list add along depth in the same order. */
const shapes = [
  { shader: 'gated_linear/matvec', fewest: 1, up: 1, tileRows: 1, tileColumns: 4 },
  { shader: 'gated_linear/tile_4', fewest: 2, up: Infinity, tileRows: 4, tileColumns: 4 },
] as const;

export const gatedLinear: Kernel<'gatedLinear'> = (op, context) => {
  const x = context.tensor(op.x);
  const rows = x.shape[0]!;
  const weight = context.tensor(op.weight);
  const columns = fixed(context.tensor(op.out), 1);
  const { lanes, sums } = context.tuning.linear({ op: op.op, dtype: weight.dtype, columns, depth: fixed(x, 1) });
  const { params, bindings } = operands(op, context);
  const consts = laneConsts(lanes);
  if (fixed(x, 1) % 4 !== 0) {
    const workgroups = laneGrid(lanes, sizes => sizeOf(rows, sizes) * Math.ceil(columns / 4));
    const spec = { fragments: { lanes: lanes.fragment }, consts, bindings, workgroups };
    return [dispatch('gated_linear/any_depth', { ...spec, params: { ...params, weight_dtype: dtypeCode(weight) } })];
  }
  const { name: weights, consts: weightConsts } = weightFragment(weight);
  const { few, ...inputs } = layerInput(op, context);
  const spec = { consts: { ...consts, ...weightConsts }, params: { ...params, ...inputs.params } };
  if (sums === 'own') {
    const tiles = tilesWithNorm(columnTiles(lanes, 2), few);
    return gridsOf(tiles, rows, columns, lanes, context).map(([{ tile, input }, workgroups]) => {
      const fragments = { tile, weights, input };
      return dispatch('gated_linear/columns', {
        ...spec,
        fragments,
        bindings: { ...bindings, ...inputs.bindings[input] },
        workgroups,
      });
    });
  }
  if (sums === 'integers' && integerSums({ dtype: weight.dtype, depth: fixed(x, 1) })) {
    const fragments = integerFragments(lanes, weights);
    return gridsOf(tilesWithNorm(packedTiles(4), few), rows, columns, lanes, context).map(
      ([{ input, tileRows }, workgroups]) =>
        dispatch('gated_linear/packed', {
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

function operands(op: OpOf<'gatedLinear'>, context: KernelContext) {
  const x = context.tensor(op.x);
  const out = context.tensor(op.out);
  const bias = op.bias === undefined ? undefined : context.tensor(op.bias);
  const params = {
    rows: dimCode(x.shape[0]!),
    columns: fixed(out, 1),
    depth: fixed(x, 1),
    bias_dtype: bias === undefined ? NONE : dtypeCode(bias),
    activation: activationCode(op.activation),
  };
  return { params, bindings: { x, weight: context.tensor(op.weight), out, bias: bias ?? ('unused' as const) } };
}
