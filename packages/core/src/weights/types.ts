import type { DType } from '../contract/contract.ts';

/**
 * Read access to one model folder, the same in Node and in the browser. Implementations read nothing outside the folder,
 * follow no link out of it, and open regular files only.
 */
export interface ModelSource {
  /** Shown in messages: a folder path or a URL. */
  readonly location: string;
  /** File names directly in the folder. */
  list(): Promise<string[]>;
  /** Size in bytes, or null when the file does not exist. */
  size(file: string): Promise<number | null>;
  /** Bytes [start, end) of the file; throws ModelFormatError (IO_ERROR) when fewer are there. */
  read(file: string, start: number, end: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** A tensor of a checkpoint: where its bytes lie. Bytes are little-endian and contiguous in row-major order. */
export interface CheckpointTensor {
  readonly name: string;
  readonly dtype: DType | 'i64' | 'i32' | 'u8' | 'i8' | 'bool' | 'f64';
  readonly shape: readonly number[];
  readonly file: string;
  /** Byte range in the file. */
  readonly start: number;
  readonly end: number;
}

/** All tensors of a checkpoint by name, over one or many files of any supported format. */
export interface Checkpoint {
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
  /** Streams a tensor's bytes in chunks of at most `chunkBytes` (default 4 MiB). */
  stream(tensor: CheckpointTensor, chunkBytes?: number): AsyncIterable<Uint8Array>;
}
