import type { DType, OpName, WeightDType } from '../contract/contract.ts';
import { isQuantDType, shapeBytes } from '../contract/contract.ts';
import { ConfigError } from '../errors.ts';

/** Dimensions that the ranks of a tensor-parallel group divide among themselves; heads are counted in their elements. */
export type SplitDimension = 'queryHeads' | 'kvHeads' | 'intermediate' | 'vocabulary';

/** A tensor of the checkpoint that a weight takes its rows from. Names are without the prefix of the model class. */
export interface WeightSource {
  readonly name: string;
  /** Of what is taken of the tensor: all of it without a `slice`. */
  readonly shape: readonly number[];
  /** What its rows are, where ranks divide them. Absent: every rank holds all of them. */
  readonly split?: SplitDimension;
  /** Which rows of the tensor are taken. */
  readonly slice?: RowSlice;
  /** The checkpoint has columns as rows and rows as columns (Conv1D of GPT-2). */
  readonly transposed?: true;
}

/** Rows of a tensor in blocks of one size at equal distances: row r is firstRow + floor(r / blockRows) stride + r % blockRows. */
export interface RowSlice {
  readonly firstRow: number;
  readonly blockRows: number;
  readonly stride: number;
  /** Of the whole tensor. */
  readonly tensorRows: number;
}

/** The shape that a source's tensor has in the checkpoint. */
export function checkpointShape({ shape, slice, transposed }: WeightSource): number[] {
  const [rows, ...columns] = shape;
  const whole = [slice?.tensorRows ?? rows!, ...columns];
  return transposed ? whole.reverse() : whole;
}

/**
 * A weight of the decoder: the rows of its sources, one below the other. A weight without sources is filled with ones
 * (the scale of a normalisation that has none).
 */
export interface ModelWeight {
  /** Name in the Program, such as `layers.0.qkv.weight`. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly sources: readonly WeightSource[];
  /** The checkpoint has it less one; it is held in f32, in which the sum loses nothing. */
  readonly addOne?: true;
  /** Ops that read it: the device must offer its dtype for all of them. */
  readonly ops: readonly OpName[];
  /** The weight whose dtype and row parts it shares: a bias, or what is read beside it. */
  readonly follows?: string;
  /** What the columns of all sources are, where ranks divide them: the products of the ranks are parts of a sum. */
  readonly columnSplit?: SplitDimension;
  /** Its rows are those of so many experts, none of which is divided among row parts. */
  readonly groups?: number;
  /** The stage of a pipeline that holds it. Absent: there is no pipeline. */
  readonly stage?: number;
  /** A bias of such a sum: rank 0 holds it, the others hold zeros. */
  readonly firstRankOnly?: true;
}

/** Rows [firstRow, firstRow + rows) of a weight, in a device tensor of their own. */
export interface WeightPart {
  readonly tensor: string;
  readonly firstRow: number;
  readonly rows: number;
}

export interface PlacedWeight {
  readonly weight: ModelWeight;
  readonly dtype: WeightDType;
  readonly parts: readonly WeightPart[];
}

/** All weights of a model by name, with dtype and row parts chosen for one device. */
export type WeightLayout = ReadonlyMap<string, PlacedWeight>;

/** Row parts start at a multiple of this, so that kernels may take columns of the output in groups. */
const PART_ROWS = 64;

/**
 * Splits every weight above `maxTensorBytes` into row parts. `dtypeOf` chooses the dtype of a weight that follows no other, or
 * one that is quantised: a bias is not.
 * Throws ConfigError when one row alone is above the limit.
 */
export function planWeights(
  weights: readonly ModelWeight[],
  dtypeOf: (weight: ModelWeight) => WeightDType,
  maxTensorBytes: number,
): WeightLayout {
  const layout = new Map<string, PlacedWeight>();
  for (const weight of weights) {
    const leader = weight.follows === undefined ? undefined : layout.get(weight.follows)!;
    const dtype = leader === undefined || isQuantDType(leader.dtype) ? dtypeOf(weight) : leader.dtype;
    const rowsPerPart = leader?.parts[0]?.rows ?? fittingRows(weight, dtype, maxTensorBytes);
    layout.set(weight.name, { weight, dtype, parts: splitRows(weight, rowsPerPart) });
  }
  return layout;
}

/** Bytes of one row of a weight: of one element for a vector. */
export function rowBytes(weight: ModelWeight, dtype: DType): number {
  return shapeBytes(dtype, [1, ...weight.shape.slice(1)]);
}

function fittingRows(weight: ModelWeight, dtype: DType, maxTensorBytes: number): number {
  const rows = weight.shape[0]!;
  const fitting = Math.floor(maxTensorBytes / rowBytes(weight, dtype));
  if (fitting >= rows) return rows;
  const together = rows / (weight.groups ?? rows);
  if (together > 1 && fitting >= together) return fitting - (fitting % together);
  if (together > 1) {
    throw new ConfigError(
      `The ${together} rows of one expert in ${weight.name} take ${together * rowBytes(weight, dtype)} bytes, but this device ` +
        `binds at most ${maxTensorBytes} bytes at once. Use a device with larger limits.`,
    );
  }
  if (fitting >= PART_ROWS) return fitting - (fitting % PART_ROWS);
  if (fitting > 0) return fitting;
  throw new ConfigError(
    `A row of ${weight.name} takes ${rowBytes(weight, dtype)} bytes, but this device binds at most ${maxTensorBytes} ` +
      'bytes at once. Use a device with larger limits.',
  );
}

function splitRows(weight: ModelWeight, rowsPerPart: number): WeightPart[] {
  const total = weight.shape[0]!;
  if (rowsPerPart >= total) return [{ tensor: weight.name, firstRow: 0, rows: total }];
  const parts: WeightPart[] = [];
  for (let firstRow = 0; firstRow < total; firstRow += rowsPerPart) {
    const rows = Math.min(rowsPerPart, total - firstRow);
    parts.push({ tensor: `${weight.name}.part${parts.length}`, firstRow, rows });
  }
  return parts;
}
