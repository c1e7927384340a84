import { type DType, dtypeBytes, type TypedArray } from '../contract/contract.ts';
import { decodeFloats, encodeFloats } from '../program/float-formats.ts';
import type { Checkpoint, CheckpointTensor } from '../weights/types.ts';

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

/** Rows [start, end) of the tensors stacked one below the other, as raw bytes in `dtype`. */
export async function* stackedChunks(
  checkpoint: Checkpoint,
  tensors: readonly CheckpointTensor[],
  dtype: DType,
  start: number,
  end: number,
): AsyncGenerator<Uint8Array> {
  let firstRow = 0;
  for (const tensor of tensors) {
    const rows = tensor.shape[0]!;
    const from = Math.max(start - firstRow, 0);
    const to = Math.min(end - firstRow, rows);
    firstRow += rows;
    if (from >= to) continue;
    const chunks = checkpoint.stream(rowRange(tensor, from, to));
    yield* tensor.dtype === dtype ? chunks : convertedChunks(chunks, tensor.dtype as DType, dtype);
  }
}

/** The same values in another dtype. Chunks may end inside an element. */
async function* convertedChunks(chunks: AsyncIterable<Uint8Array>, from: DType, to: DType): AsyncGenerator<Uint8Array> {
  const size = dtypeBytes[from];
  let rest = new Uint8Array(0);
  for await (const chunk of chunks) {
    const bytes = new Uint8Array(rest.length + chunk.length);
    bytes.set(rest);
    bytes.set(chunk, rest.length);
    const whole = bytes.length - (bytes.length % size);
    rest = bytes.slice(whole);
    if (whole > 0) yield rawBytes(encodeFloats(to, decodeFloats(from, elements(bytes.buffer, whole, size))));
  }
}

function elements(buffer: ArrayBuffer, bytes: number, size: number): TypedArray {
  return size === 4 ? new Float32Array(buffer, 0, bytes / 4) : new Uint16Array(buffer, 0, bytes / 2);
}

/** The bytes of a typed array, without a copy. */
export function rawBytes(array: TypedArray): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
