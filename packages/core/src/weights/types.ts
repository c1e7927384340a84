import type { FloatDType, QuantDType } from '../contract/contract.ts';

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
  /**
   * Bytes [start, end) of the file; throws ModelFormatError (IO_ERROR) when fewer are there. With `into`, which has room for
   * them, an implementation may write them there and return that part of it; the caller must use what is returned.
   */
  read(file: string, start: number, end: number, into?: Uint8Array): Promise<Uint8Array>;
  /** A descriptor of the open file, good until close(), to read `bytes` bytes through. Absent where there are none. */
  descriptor?(file: string, bytes: number): Promise<number>;
  /** The weights, of a source that is no folder of files. */
  checkpoint?(): Checkpoint;
  /** Something that changes when the contents of the file do, such as its size and the time of its last change. */
  stamp?(file: string): Promise<string>;
  close(): Promise<void>;
}

/** Element types that a checkpoint may hold. Only floats can be weights on a device. */
export type CheckpointDType = FloatDType | 'u32' | 'i64' | 'i32' | 'u8' | 'i8' | 'f8e4m3' | 'bool' | 'f64';

/** Bytes of one element. */
export const checkpointDTypeBytes: Readonly<Record<CheckpointDType, number>> = {
  f64: 8,
  f32: 4,
  f16: 2,
  bf16: 2,
  i64: 8,
  i32: 4,
  i8: 1,
  u32: 4,
  u8: 1,
  f8e4m3: 1,
  bool: 1,
};

/** A tensor of a checkpoint: where its bytes lie. Bytes are little-endian and contiguous in row-major order. */
export interface CheckpointTensor {
  readonly name: string;
  readonly dtype: CheckpointDType;
  readonly shape: readonly number[];
  readonly file: string;
  /** Byte range in the file. */
  readonly start: number;
  readonly end: number;
  /** The file has it in few bits, and it is made on the way: little is lost in this dtype, which takes less room. */
  readonly roundsTo?: FloatDType;
  /** The file has it in codes and scales that this dtype holds as they are: see `Checkpoint.records`. */
  readonly records?: QuantDType;
}

/** All tensors of a checkpoint by name, over one or many files of any supported format. */
export interface Checkpoint {
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
  /** Sentences on what is odd and does no harm. */
  readonly notices?: readonly string[];
  /** A descriptor of the file in which a tensor's bytes lie as they are, to read `bytes` of them. Absent where there are none. */
  descriptor?(tensor: CheckpointTensor, bytes: number): Promise<number>;
  /**
   * Streams a tensor's bytes in chunks of a few megabytes at most. A chunk is good until the next is asked for. Fastest for one tensor
   * after the other in the order of the file.
   */
  stream(tensor: CheckpointTensor): AsyncIterable<Uint8Array>;
  /** Streams a tensor, or some rows of one, as records of its dtype of few bits. Chunks as of `stream`. Absent where no tensor has one. */
  records?(tensor: CheckpointTensor): AsyncIterable<Uint8Array>;
}

/** Keeps tensors of a checkpoint in other dtypes, so that the next load need not convert them. */
export interface WeightCache {
  /**
   * The checkpoint with each of these tensors in the dtype given for it, where that is worth keeping: from an earlier load of the
   * same files, else converted now and kept. What is kept is checked before it is used. Other tensors are as they were.
   */
  converted(checkpoint: Checkpoint, dtypes: ReadonlyMap<string, FloatDType>): Promise<Checkpoint>;
  close(): Promise<void>;
}
