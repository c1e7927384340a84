import { tensorBytes } from '../weights/tensor-bytes.ts';
import type { Checkpoint, CheckpointTensor } from '../weights/types.ts';
import type { RowSlice, WeightSource } from './model-weights.ts';

/** How a source lies in its tensor. */
export type SourceLayout = Pick<WeightSource, 'slice' | 'transposed'>;

/** Rows [start, end) of a checkpoint tensor, as a tensor of its own. */
export function rowRange(tensor: CheckpointTensor, start: number, end: number): CheckpointTensor {
  const rowBytes = (tensor.end - tensor.start) / tensor.shape[0]!;
  return {
    ...tensor,
    shape: [end - start, ...tensor.shape.slice(1)],
    start: tensor.start + start * rowBytes,
    end: tensor.start + end * rowBytes,
  };
}

/** Rows [from, to) of what a source takes of a tensor: raw bytes in the tensor's dtype, or its records. */
export async function* sourceRows(
  checkpoint: Checkpoint,
  tensor: CheckpointTensor,
  { slice, transposed }: SourceLayout,
  from: number,
  to: number,
  as: 'values' | 'records',
): AsyncGenerator<Uint8Array> {
  const runs = slice === undefined ? [[from, to] as const] : rowRuns(slice, from, to);
  if (transposed) {
    yield await transposedRows(checkpoint, tensor, runs);
    return;
  }
  for (const [start, end] of runs) {
    const rows = rowRange(tensor, start, end);
    yield* as === 'records' ? checkpoint.records!(rows) : checkpoint.stream(rows);
  }
}

/** The rows of the tensor that rows [from, to) of a slice are, in runs of neighbours. */
function rowRuns({ firstRow, blockRows, stride }: RowSlice, from: number, to: number): (readonly [number, number])[] {
  const runs: (readonly [number, number])[] = [];
  for (let at = from; at < to; ) {
    const [block, within] = [Math.floor(at / blockRows), at % blockRows];
    const count = Math.min(blockRows - within, to - at);
    const start = firstRow + block * stride + within;
    runs.push([start, start + count]);
    at += count;
  }
  return runs;
}

/** The runs of columns of a tensor [columns, rows] as rows. The whole tensor is held for the time of this. */
async function transposedRows(
  checkpoint: Checkpoint,
  tensor: CheckpointTensor,
  runs: readonly (readonly [number, number])[],
): Promise<Uint8Array> {
  const [height, width] = tensor.shape as [number, number];
  const values = await readWhole(checkpoint, tensor);
  const rows = runs.reduce((sum, [start, end]) => sum + end - start, 0);
  const out = new (tensor.dtype === 'f32' ? Uint32Array : Uint16Array)(rows * height);
  let at = 0;
  for (const [start, end] of runs) {
    for (let column = start; column < end; column++) {
      for (let row = 0; row < height; row++) out[at++] = values[row * width + column]!;
    }
  }
  return new Uint8Array(out.buffer);
}

/** The elements of a tensor as words of their size. */
async function readWhole(checkpoint: Checkpoint, tensor: CheckpointTensor): Promise<Uint16Array | Uint32Array> {
  const bytes = await tensorBytes(checkpoint, tensor);
  return tensor.dtype === 'f32' ? new Uint32Array(bytes.buffer) : new Uint16Array(bytes.buffer);
}
