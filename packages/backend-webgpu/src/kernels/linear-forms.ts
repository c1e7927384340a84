import type { OpOf } from '@quire/core/contract';
import { dtypeCode, fixed, type KernelContext, laneConsts, laneGrid, sizeOf, weightFragment } from '../kernel.ts';
import { layerInput } from './layer-input.ts';
import {
  columnTiles,
  gridsOf,
  integerFragments,
  integerSums,
  packedTiles,
  type RowTile,
  tilesWithNorm,
} from './row-tiles.ts';

/** What the shaders of an op that multiplies rows with a weight compute at once. */
export interface LinearShaders<T extends RowTile> {
  /** Whose lanes share the sum of a column, by the rows of a step. */
  readonly shapes: readonly T[];
  /** Rows of weight for each output. */
  readonly perOutput: 1 | 2;
  /** Outputs of a group of the kernel of integers. */
  readonly packedColumns: number;
}

/** The dispatches of such an op but for their shaders: one for each range of rows, in the way that was found the fastest. */
export function linearForms<T extends RowTile, P extends { readonly columns: number }, B extends object>(
  op: OpOf<'linear'> | OpOf<'gatedLinear'>,
  own: { readonly params: P; readonly bindings: B },
  { shapes, perOutput, packedColumns }: LinearShaders<T>,
  context: KernelContext,
) {
  const { columns } = own.params;
  const x = context.tensor(op.x);
  const weight = context.tensor(op.weight);
  const rows = x.shape[0]!;
  const depth = fixed(x, 1);
  const { lanes, sums } = context.tuning.linear({ op: op.op, dtype: weight.dtype, columns, depth });
  const consts = laneConsts(lanes);
  if (depth % 4 !== 0) {
    const workgroups = laneGrid(lanes, sizes => sizeOf(rows, sizes) * Math.ceil(columns / 4));
    const params = { ...own.params, weight_dtype: dtypeCode(weight) };
    const bindings = { ...own.bindings, x };
    return [{ way: 'anyDepth' as const, fragments: { lanes: lanes.fragment }, consts, params, bindings, workgroups }];
  }
  const { name: weights, consts: weightConsts } = weightFragment(weight);
  const { few, ...inputs } = layerInput(op, context);
  const common = { consts: { ...consts, ...weightConsts }, params: { ...own.params, ...inputs.params } };
  const bindings = (input: keyof typeof inputs.bindings) => ({ ...own.bindings, ...inputs.bindings[input] });
  const grids = <U extends RowTile>(tiles: readonly U[]) =>
    gridsOf(tilesWithNorm(tiles, few), rows, columns, lanes, context);
  if (sums === 'own') {
    return grids(columnTiles(lanes, perOutput)).map(([{ tile, input }, workgroups]) => {
      const fragments = { tile, weights, input };
      return { way: 'columns' as const, ...common, fragments, bindings: bindings(input), workgroups };
    });
  }
  if (sums === 'integers' && integerSums({ dtype: weight.dtype, depth })) {
    return grids(packedTiles(packedColumns)).map(([{ input, tileRows }, workgroups]) => {
      const fragments = { ...integerFragments(lanes, weights), input };
      const consts = { ...common.consts, TILE_ROWS: tileRows };
      return { way: 'packed' as const, ...common, consts, fragments, bindings: bindings(input), workgroups };
    });
  }
  return grids(shapes).map(([{ input, ...shape }, workgroups]) => {
    const fragments = { lanes: lanes.fragment, weights, input };
    return { way: 'shared' as const, shape, ...common, fragments, bindings: bindings(input), workgroups };
  });
}
