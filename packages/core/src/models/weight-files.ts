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
  return (
    reads &&
    pieces.every(
      ({ tensor, slice, transposed }) =>
        tensor.dtype === dtype && tensor.roundsTo === undefined && slice === undefined && !transposed,
    )
  );
}

/** Fills a new tensor, whose bytes are zero, with the rows. Throws ModelFormatError (IO_ERROR) for a file that cannot be read. */
export async function uploadFromFiles(
  device: Pick<Device, 'uploadFiles'>,
  tensor: DeviceTensor,
  checkpoint: Checkpoint,
  rows: StackedRows,
  rank: number,
): Promise<void> {
  const { pieces, dtype, start, end } = rows;
  const files: FileRows[] = [];
  let firstRow = 0;
  for (const piece of pieces) {
    const length = piece.rows?.length ?? piece.tensor.shape[0]!;
    const from = Math.max(start - firstRow, 0);
    const to = Math.min(end - firstRow, length);
    // Rows and columns beyond those of the checkpoint are the zeros that are there.
    const filled = Math.min(to, (piece.rows?.end ?? length) - (piece.rows?.start ?? 0));
    if (from < filled) {
      const place = { from, to: filled, atRow: firstRow + from - start };
      const rows = fileRows(piece, dtype, place);
      files.push({ ...rows, descriptor: await checkpoint.descriptor!(piece.tensor, rows.rows * rows.bytes) });
    }
    firstRow += length;
  }
  try {
    await device.uploadFiles!(tensor, files, rank);
  } catch (error) {
    throw error instanceof FileReadError ? readFailed(error) : error;
  }
}

function fileRows(
  { tensor, rows, columns }: Piece,
  dtype: FloatDType,
  place: { from: number; to: number; atRow: number },
): Omit<FileRows, 'descriptor'> {
  const rowBytes = (tensor.end - tensor.start) / tensor.shape[0]!;
  const element = dtypeBytes[dtype];
  const stride = columns === undefined ? rowBytes : columns.length * element;
  return {
    file: tensor.file,
    start: tensor.start + ((rows?.start ?? 0) + place.from) * rowBytes,
    rows: place.to - place.from,
    rowBytes,
    from: columns === undefined ? 0 : columns.start * element,
    bytes: columns === undefined ? rowBytes : (columns.end - columns.start) * element,
    offset: place.atRow * stride,
    stride,
  };
}

/** The errors of a source that is read here. */
function readFailed({ rows, offset, reason }: FileReadError): ModelFormatError {
  const { file, start, rows: count, rowBytes } = rows;
  if (reason === '') return shortRead(file, offset, start, start + count * rowBytes);
  return new ModelFormatError('IO_ERROR', 'the file cannot be read', { file, offset, found: reason });
}
