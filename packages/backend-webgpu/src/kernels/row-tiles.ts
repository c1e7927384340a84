import { type Dim, isQuantDType, type StepSizes } from '@quire/core/contract';
import { type KernelContext, type Lanes, type LinearLayer, laneGrid, sizeOf, type WeightsName } from '../kernel.ts';

/** A kernel of a linear layer that takes the steps with `fewest` to `up` rows, in tiles. */
export interface RowTile {
  readonly fewest: number;
  readonly up: number;
  readonly tileRows: number;
  readonly tileColumns: number;
}
type ColumnsFragment = 'columns_row' | 'columns_rows';

/** The kernels whose lanes are columns, for layers with so many rows of weight for each output (shaders/lib/columns_*.wgsl). */
export function columnTiles({ count }: Lanes, perOutput: 1 | 2): readonly (RowTile & { tile: ColumnsFragment })[] {
  return [
    { tile: 'columns_row', fewest: 1, up: 1, tileRows: 1, tileColumns: (2 * count) / perOutput },
    { tile: 'columns_rows', fewest: 2, up: Infinity, tileRows: count, tileColumns: (4 * count) / perOutput },
  ];
}

/** Columns that lib/packed.wgsl makes fixed-point numbers of together. */
const INTEGER_GROUP = 32;

/** Whether a layer can be computed as sums of integers (shaders/lib/packed.wgsl). */
export function integerSums({ dtype, depth }: Pick<LinearLayer, 'dtype' | 'depth'>): boolean {
  return isQuantDType(dtype) && depth % INTEGER_GROUP === 0;
}

/** What the kernels that do are built of: adapters compute so with several lanes only. */
export function integerFragments({ fragment }: Lanes, weights: WeightsName) {
  return {
    lanes: fragment as Exclude<Lanes['fragment'], 'lanes_one'>,
    weights: weights as 'weights_q8' | 'weights_q4' | 'weights_q4_zeros',
  };
}

/** Those kernels for layers whose groups make so many columns. */
export function packedTiles(tileColumns: number): readonly RowTile[] {
  return [
    { fewest: 1, up: 1, tileRows: 1, tileColumns },
    { fewest: 2, up: Infinity, tileRows: 4, tileColumns },
  ];
}

/** Of a layer that takes in its norm in steps of up to `few` rows: the kernels of these steps, then those of the others. */
export function tilesWithNorm<T extends RowTile>(tiles: readonly T[], few: number) {
  const normed = tiles.map(tile => ({ ...tile, up: Math.min(tile.up, few), input: 'input_normed' as const }));
  const plain = tiles.map(tile => ({ ...tile, fewest: Math.max(tile.fewest, few + 1), input: 'input_plain' as const }));
  return [...normed, ...plain].filter(({ fewest, up }) => fewest <= up);
}

/** Those of `tiles` that a layer with these rows and columns can need, each with its grid: empty outside of its rows. */
export function gridsOf<T extends RowTile>(
  tiles: readonly T[],
  rows: Dim,
  columns: number,
  lanes: Lanes,
  context: KernelContext,
): (readonly [tile: T, workgroups: (sizes: StepSizes) => number])[] {
  const [least, most] = typeof rows === 'number' ? [rows, rows] : [0, sizeOf(rows, context.maxSizes)];
  return tiles
    .filter(({ fewest, up }) => fewest <= most && least <= up)
    .map(tile => {
      const { fewest, up, tileRows, tileColumns } = tile;
      const groups = (count: number) => Math.ceil(count / tileRows) * Math.ceil(columns / tileColumns);
      const taken = (count: number) => (count < fewest || count > up ? 0 : groups(count));
      return [tile, laneGrid(lanes, sizes => taken(sizeOf(rows, sizes)))] as const;
    });
}
