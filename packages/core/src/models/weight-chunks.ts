import {
  dtypeBytes,
  type FloatDType,
  isQuantDType,
  type QuantDType,
  quantFormats,
  quantRecord,
  shapeBytes,
  type TypedArray,
  type WeightDType,
} from '../contract/contract.ts';
import { convertFloats, QuantizeError, quantizeRows, wholeRecords } from '../program/index.ts';
import type { Checkpoint, CheckpointTensor } from '../weights/types.ts';
import type { Split } from './shards.ts';
import { type SourceLayout, sourceRows } from './source-rows.ts';

/** A part of what a source takes of a checkpoint tensor, filled up with zeros: what one rank has. Absent: all of it. */
export interface Piece extends SourceLayout {
  readonly tensor: CheckpointTensor;
  /** Of what the source takes. Absent: that of the tensor. */
  readonly shape?: readonly number[];
  readonly rows?: Cut;
  readonly columns?: Cut;
}

/** [start, end) of a dimension, then zeros up to `length`. */
export interface Cut {
  readonly start: number;
  readonly end: number;
  readonly length: number;
}

const ZERO_CHUNK_BYTES = 1 << 20;

/** What a rank takes of a dimension. */
export function cutOf({ length, ranges }: Split, rank: number): Cut {
  const [start, end] = ranges[rank]!;
  return { start, end, length };
}

/** All values of a tensor as raw bytes in `dtype`. */
export function tensorChunks(
  checkpoint: Checkpoint,
  tensor: CheckpointTensor,
  dtype: FloatDType,
): AsyncIterable<Uint8Array> {
  return stackedChunks(checkpoint, [{ tensor }], dtype, 0, tensor.shape[0]!);
}

/**
 * Rows [start, end) of the pieces stacked one below the other, as raw bytes in `dtype`. One of few bits must be that of the records of
 * all tensors, and the columns of pieces whole groups.
 */
export async function* stackedChunks(
  checkpoint: Checkpoint,
  pieces: readonly Piece[],
  dtype: WeightDType,
  start: number,
  end: number,
): AsyncGenerator<Uint8Array> {
  let firstRow = 0;
  for (const piece of pieces) {
    const length = piece.rows?.length ?? shapeOf(piece)[0]!;
    const from = Math.max(start - firstRow, 0);
    const to = Math.min(end - firstRow, length);
    firstRow += length;
    if (from < to) yield* pieceChunks(checkpoint, piece, dtype, from, to);
  }
}

/** Rows [from, to) of a piece. */
async function* pieceChunks(
  checkpoint: Checkpoint,
  piece: Piece,
  dtype: WeightDType,
  from: number,
  to: number,
): AsyncGenerator<Uint8Array> {
  const { tensor, rows, columns } = piece;
  const [height, width = 1] = shapeOf(piece);
  const [first, last] = [rows?.start ?? 0, rows?.end ?? height!];
  const filled = Math.min(to, last - first);
  const rowBytes = shapeBytes(dtype, [1, columns?.length ?? width]);
  if (from < filled) {
    const as = isQuantDType(dtype) ? 'records' : 'values';
    const chunks = sourceRows(checkpoint, tensor, piece, first + from, first + filled, as);
    const isStored = isQuantDType(dtype) || tensor.dtype === dtype;
    const rows = isStored ? chunks : convertedChunks(chunks, tensor.dtype as FloatDType, dtype);
    yield* columns === undefined || hasWholeRows(piece) ? rows : columnChunks(rows, width, columns, dtype);
  }
  yield* zeroChunks((to - Math.max(from, filled)) * rowBytes);
}

/** Whether every column of a piece is taken, and nothing is filled up. */
function hasWholeRows(piece: Piece): boolean {
  const [, width] = shapeOf(piece);
  const { start, end, length } = piece.columns ?? { start: 0, end: width, length: width };
  return start === 0 && end === width && length === width;
}

function shapeOf({ tensor, shape = tensor.shape }: Piece): readonly number[] {
  return shape;
}

/** Some columns of each row of a matrix `width` elements wide. */
async function* columnChunks(
  chunks: AsyncIterable<Uint8Array>,
  width: number,
  cut: Cut,
  dtype: WeightDType,
): AsyncGenerator<Uint8Array> {
  const [bytes, cutBytes] = [width, cut.length].map(columns => shapeBytes(dtype, [1, columns])) as [number, number];
  const ranges = isQuantDType(dtype) ? recordRanges(dtype, width, cut) : [elementRange(dtypeBytes[dtype], cut)];
  for await (const rows of wholeRecords(chunks, bytes)) {
    const count = rows.length / bytes;
    const out = new Uint8Array(count * cutBytes);
    for (let row = 0; row < count; row++) {
      for (const { from, to, at } of ranges)
        out.set(rows.subarray(row * bytes + from, row * bytes + to), row * cutBytes + at);
    }
    yield out;
  }
}

/** Bytes [from, to) of a row, and where they go. */
interface ByteRange {
  readonly from: number;
  readonly to: number;
  readonly at: number;
}

function elementRange(bytes: number, { start, end }: Cut): ByteRange {
  return { from: start * bytes, to: end * bytes, at: 0 };
}

/** Codes and scales of some columns of a record, which are whole groups. A group of zeros has scale 0. */
function recordRanges(dtype: QuantDType, columns: number, cut: Cut): ByteRange[] {
  const { bits, group, zeros } = quantFormats[dtype];
  const [whole, part] = [quantRecord(dtype, columns), quantRecord(dtype, cut.length)];
  const scaleBytes = bits === 8 || zeros ? 4 : 2;
  const scales = group === 0 ? [0, 1] : [cut.start / group, cut.end / group];
  const [first, last] = scales.map(at => whole.codeBytes + at * scaleBytes) as [number, number];
  return [
    { from: (cut.start * bits) / 8, to: (cut.end * bits) / 8, at: 0 },
    { from: first, to: last, at: part.codeBytes },
  ];
}

function* zeroChunks(bytes: number): Generator<Uint8Array> {
  for (let left = bytes; left > 0; left -= ZERO_CHUNK_BYTES) yield new Uint8Array(Math.min(left, ZERO_CHUNK_BYTES));
}

/** The same values in another dtype. */
async function* convertedChunks(
  chunks: AsyncIterable<Uint8Array>,
  from: FloatDType,
  to: FloatDType,
): AsyncGenerator<Uint8Array> {
  const size = dtypeBytes[from];
  let room: Float32Array | Uint16Array = new Uint16Array(0);
  for await (const chunk of wholeRecords(chunks, size)) {
    const raw = elements(chunk, size);
    if (room.length < raw.length) room = new (to === 'f32' ? Float32Array : Uint16Array)(raw.length);
    const converted = room.subarray(0, raw.length);
    convertFloats(from, raw, to, converted);
    yield rawBytes(converted);
  }
}

/** f32 values, each one more. */
export async function* oneMore(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of wholeRecords(chunks, 4)) yield rawBytes(floatsIn(chunk).map(value => 1 + value));
}

function elements(chunk: Uint8Array<ArrayBuffer>, size: number): TypedArray {
  return size === 4 ? floatsIn(chunk) : new Uint16Array(chunk.buffer, chunk.byteOffset, chunk.length / 2);
}

function floatsIn({ buffer, byteOffset, length }: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  return new Float32Array(buffer, byteOffset, length / 4);
}

/** Rows of `columns` f32 values as records of a quantised dtype. Throws QuantizeError that tells the row. */
export async function* quantizedChunks(
  chunks: AsyncIterable<Uint8Array>,
  dtype: QuantDType,
  columns: number,
): AsyncGenerator<Uint8Array> {
  let firstRow = 0;
  for await (const chunk of wholeRecords(chunks, 4 * columns)) {
    const values = floatsIn(chunk);
    const rows = values.length / columns;
    try {
      yield rawBytes(quantizeRows(dtype, values, columns));
    } catch (error) {
      if (!(error instanceof QuantizeError)) throw error;
      throw new QuantizeError(`rows ${firstRow} .. ${firstRow + rows - 1}: ${error.message}`);
    }
    firstRow += rows;
  }
}

/** The bytes of a typed array, without a copy. */
export function rawBytes(array: TypedArray): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
