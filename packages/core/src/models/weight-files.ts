import {
  type Device,
  type DeviceTensor,
  dtypeBytes,
  FileReadError,
  type FileRows,
  type FloatDType,
} from '../contract/contract.ts';
import { ModelFormatError } from '../errors.ts';
import { shortRead } from '../weights/file-name.ts';
import type { Checkpoint } from '../weights/types.ts';
import type { Piece } from './weight-chunks.ts';

/** Rows [start, end) of pieces stacked one below the other, in `dtype`: what one rank holds of a weight, or a part of it. */
export interface StackedRows {
  readonly pieces: readonly Piece[];
  readonly dtype: FloatDType;
  readonly start: number;
  readonly end: number;
}

/** Whether the device can take these rows from files as they lie there: a device that reads files, and no change on the way. */
export function canUploadFiles(
  device: Pick<Device, 'uploadFiles'>,
  checkpoint: Checkpoint,
  { pieces, dtype }: StackedRows,
): boolean {
  const reads = device.uploadFiles !== undefined && checkpoint.descriptor !== undefined;
  return reads && pieces.every(piece => isStored(piece, dtype));
}

function isStored({ tensor, slice, transposed }: Piece, dtype: FloatDType): boolean {
  return tensor.dtype === dtype && tensor.roundsTo === undefined && slice === undefined && !transposed;
}

/** Fills a new tensor, whose bytes are zero, with the rows. Throws ModelFormatError (IO_ERROR) for a file that cannot be read. */
export async function uploadFromFiles(
  device: Pick<Device, 'uploadFiles'>,
  tensor: DeviceTensor,
  checkpoint: Checkpoint,
  rows: StackedRows,
  rank: number,
): Promise<void> {
  const files: FileRows[] = [];
  for (const placed of storedRows(rows)) {
    const file = fileRows(placed, rows.dtype);
    files.push({ ...file, descriptor: await checkpoint.descriptor!(placed.piece.tensor, file.rows * file.bytes) });
  }
  try {
    await device.uploadFiles!(tensor, files, rank);
  } catch (error) {
    throw error instanceof FileReadError ? readFailed(error) : error;
  }
}

/** Rows [from, to) of what a rank takes of a piece, and the row of the weight's part that the first of them is. */
interface PlacedRows {
  readonly piece: Piece;
  readonly from: number;
  readonly to: number;
  readonly atRow: number;
}

/** Rows that the checkpoint has. Rows and columns beyond those are the zeros that are there. */
function storedRows({ pieces, start, end }: StackedRows): PlacedRows[] {
  const placed: PlacedRows[] = [];
  let firstRow = 0;
  for (const piece of pieces) {
    const length = piece.rows?.length ?? piece.tensor.shape[0]!;
    const stored = (piece.rows?.end ?? length) - (piece.rows?.start ?? 0);
    const from = Math.max(start - firstRow, 0);
    const to = Math.min(end - firstRow, length, stored);
    if (from < to) placed.push({ piece, from, to, atRow: firstRow + from - start });
    firstRow += length;
  }
  return placed;
}

function fileRows(
  { piece: { tensor, rows, columns }, from, to, atRow }: PlacedRows,
  dtype: FloatDType,
): Omit<FileRows, 'descriptor'> {
  const rowBytes = (tensor.end - tensor.start) / tensor.shape[0]!;
  const element = dtypeBytes[dtype];
  const stride = columns === undefined ? rowBytes : columns.length * element;
  return {
    file: tensor.file,
    start: tensor.start + ((rows?.start ?? 0) + from) * rowBytes,
    rows: to - from,
    rowBytes,
    from: columns === undefined ? 0 : columns.start * element,
    bytes: columns === undefined ? rowBytes : (columns.end - columns.start) * element,
    offset: atRow * stride,
    stride,
  };
}

/** The errors of a source that is read here. */
function readFailed({ rows, offset, reason }: FileReadError): ModelFormatError {
  const { file, start, rows: count, rowBytes } = rows;
  if (reason === '') return shortRead(file, offset, start, start + count * rowBytes);
  return new ModelFormatError('IO_ERROR', 'the file cannot be read', { file, offset, found: reason });
}
