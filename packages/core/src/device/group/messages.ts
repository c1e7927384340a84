import type {
  CompileOptions,
  DeviceInfo,
  OpName,
  OpTiming,
  Program,
  StepSizes,
  TensorName,
  TensorSpec,
  TypedArray,
} from '../../contract/contract.ts';

/** Tensors and executables cross between threads and processes as numbers. */
export type Handle = number;

/** What a rank does without an answer; errors come with the answer to the next request. */
export type Command =
  | { readonly kind: 'createTensor'; readonly tensor: Handle; readonly spec: TensorSpec }
  | { readonly kind: 'temporary'; readonly tensor: Handle; readonly executable: Handle; readonly name: TensorName }
  | { readonly kind: 'disposeTensor'; readonly tensor: Handle }
  /** `data` lies in memory that nobody writes to any more; ranks may share it. */
  | { readonly kind: 'write'; readonly tensor: Handle; readonly data: TypedArray; readonly offset: number }
  | {
      readonly kind: 'submit';
      readonly steps: readonly { readonly executable: Handle; readonly sizes: StepSizes }[];
      readonly times: number;
    }
  | { readonly kind: 'disposeExecutable'; readonly executable: Handle };

/** A place among the ranks of a group, which `id` names; it is empty in a group of one. */
export interface GroupPlace {
  readonly rank: number;
  readonly size: number;
  readonly id: Uint8Array;
}

/** What a rank answers. */
export type Request =
  | { readonly kind: 'read'; readonly tensor: Handle; readonly offset: number; readonly into: TypedArray }
  | {
      readonly kind: 'compile';
      readonly executable: Handle;
      readonly program: Program;
      readonly bindings: Readonly<Record<TensorName, Handle>>;
      readonly options: CompileOptions;
    }
  /** The rank fills a weight, by its name, from files of its own. */
  | { readonly kind: 'fill'; readonly tensor: Handle }
  /** Memory of the rank's device that the others of its stage may open: what they must have for that. */
  | { readonly kind: 'exportPeer' }
  /** The rank opens what all of its stage export; an error says what keeps it from that. */
  | { readonly kind: 'importPeers'; readonly rank: number; readonly exports: readonly Uint8Array[] }
  /** The rank takes its places among the others. `usesPeers`: all of its stage have imported. */
  | { readonly kind: 'join'; readonly tensor: GroupPlace; readonly pipeline: GroupPlace; readonly usesPeers: boolean }
  /** The group ends in order: the rank closes what it has imported. */
  | { readonly kind: 'leave' }
  | { readonly kind: 'tune' | 'capture'; readonly executables: readonly Handle[] }
  | { readonly kind: 'profile'; readonly executable: Handle; readonly sizes: StepSizes }
  | {
      readonly kind: 'transfer';
      readonly blocks: Int32Array;
      readonly hostSlots: Int32Array;
      readonly direction: 'toHost' | 'toDevice';
    }
  | { readonly kind: 'synchronize' }
  | { readonly kind: 'dispose' };

export type ToRank = { readonly command: Command } | { readonly request: Request; readonly id: number };

/** An error of the rank: classes do not survive the way between threads. */
export interface RankError {
  readonly message: string;
  readonly op: OpName | undefined;
  readonly lost: boolean;
}

/** How often each op of each executable ran so far. */
export type OpCounts = readonly (readonly [executable: Handle, counts: Partial<Record<OpName, number>>])[];

export type FromRank =
  | { readonly kind: 'ready'; readonly info: DeviceInfo }
  | {
      readonly kind: 'answer';
      readonly id: number;
      readonly result: TypedArray | readonly OpTiming[] | undefined;
      readonly error: RankError | undefined;
      readonly opCounts: OpCounts;
      readonly allocatedBytes: number;
      /** Of an answer to what may change it much: asking the driver takes time. */
      readonly memory?: DeviceInfo['memory'];
    }
  | { readonly kind: 'lost'; readonly error: RankError };

/** The way to another thread or process. Messages arrive in order. */
export interface RankPort<Out, In> {
  post(message: Out): void;
  /** Called once, before anything can arrive. `onGone`: the other side has ended. */
  listen(onMessage: (message: In) => void, onGone: (reason: string) => void): void;
  close(): Promise<void>;
}
