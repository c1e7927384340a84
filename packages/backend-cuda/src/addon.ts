import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** The two builds of the addon: on an NVIDIA GPU, and on the processor. */
export type Flavour = 'cuda' | 'emu';

/** [handle, byte offset, dtype index, rows, index of the size that gives the rows or -1, columns] */
export type PlannedTensor = readonly [number, number, number, number, number, number];
export interface PlannedOp {
  readonly op: string;
  readonly tensors: Readonly<Record<string, PlannedTensor>>;
  readonly attributes: Readonly<Record<string, number>>;
  /** What it writes is read by the next op, and by nobody else. */
  readonly feedsNextOnly: boolean;
}
export interface PlanDescription {
  readonly name: string;
  readonly maxSizes: Int32Array;
  readonly ops: readonly PlannedOp[];
}

/** What a captured graph holds, by kind of node, and how often it was launched. */
export interface GraphInfo {
  readonly name: string;
  readonly batch: number;
  readonly kernels: number;
  readonly copies: number;
  readonly sets: number;
  readonly replays: number;
}

/** What the addon throws, rejects with and tells the owner of a lost device. */
export interface NativeError extends Error {
  readonly cudaCode?: number;
  /** The op that failed, or '' where it is not known. */
  readonly op?: string;
  /** The device is unusable from now on. */
  readonly sticky?: boolean;
}

export interface NativeInfo {
  name: string;
  smCount: number;
  major: number;
  minor: number;
  freeBytes: number;
  totalBytes: number;
  hasLinearLibrary: boolean;
  /** The version of cuBLASLt; or why it is not used, empty where nobody asked. */
  linearLibrary: string;
}

/** The native side of a device. Promises settle in the order of the queue; transfers are beside it. */
export interface NativeDevice {
  info(): NativeInfo;
  /** Returns a handle. Contents are zero. `cacheBlocks`: of a KV cache, the blocks that transfers move; 0 of others. */
  createTensor(bytes: number, cacheBlocks: number): number;
  /** The memory goes back once the work that was queued before has finished. */
  freeTensor(handle: number): void;
  /** Copies before it returns. */
  write(handle: number, byteOffset: number, bytes: Uint8Array): void;
  /** Fills `into` with the contents at this place in the queue when it resolves. */
  read(handle: number, byteOffset: number, into: Uint8Array): Promise<void>;
  /**
   * Fills a tensor from files, eight numbers for some rows: descriptor, start in the file, rows, bytes from row to row, first byte of a
   * row, bytes of it, bytes from row to row on the device, byte offset in the tensor. Resolves with what could not be read.
   */
  loadFile(
    handle: number,
    rows: Float64Array,
  ): Promise<{ readonly index: number; readonly offset: number; readonly error: string } | undefined>;
  compile(plan: PlanDescription): { id: number; workspaceBytes: number };
  freePlan(id: number): void;
  /** `words`: for each step its plan's id and the seven sizes. */
  submit(words: Int32Array, times: number): void;
  /** Microseconds of each op of one step. */
  profile(id: number, sizes: Int32Array): Promise<number[]>;
  /** Makes the choices that a plan's linear layers leave to the first step of a size. */
  tune(id: number): Promise<void>;
  /** Runs a list of plans once at each size that decode steps are padded to, and captures it. */
  capture(ids: Int32Array): Promise<void>;
  /** Blocks and slots must exist, and slots be filled before they are read. */
  transfer(blocks: Int32Array, hostSlots: Int32Array, toHost: boolean): Promise<void>;
  /** Resolves when everything queued so far has finished; rejects with the failure of a submit that nobody has heard of yet. */
  synchronize(): Promise<void>;
  /** The same without that failure. */
  reached(): Promise<void>;
  /** Steps that a plan has run. */
  runs(id: number): number;
  graphs(): Promise<GraphInfo[]>;
  /** Before any member joins: the members of `tensor` are these GPUs of this process, which reach one another's memory. */
  enterGroup(tensor: GroupPlace, ordinals: Int32Array): Promise<void>;
  /** The same where the members of `tensor` are processes of one machine: what the others must have to open this one's memory. */
  exportPeer(): Promise<Uint8Array>;
  /** Opens what all members export, in the order of the ranks. Rejects with the reason where that cannot be. */
  importPeers(rank: number, exports: readonly Uint8Array[]): Promise<void>;
  /**
   * Resolves when all members of both groups have come. From then on every failure loses the device. `usesPeers`: every member of
   * `tensor` has entered, or imported.
   */
  joinGroup(tensor: GroupPlace, pipeline: GroupPlace, usesPeers: boolean): Promise<void>;
  /** Lets go of everybody who waits for another member, with data that means nothing. */
  abortGroup(): void;
  /** Does so, and closes the memory of other processes. Before disposal, where all members do it. */
  leaveGroup(): Promise<void>;
  /** Frees everything. Queued work that has not begun is left out. */
  dispose(): Promise<void>;
}

/** A place among the devices of a group; `id` is what all of them have from `uniqueId`, and is empty in a group of one. */
export interface GroupPlace {
  readonly rank: number;
  readonly size: number;
  readonly id: Uint8Array;
}

/** What a kernel did on the emulated chip since the process began. */
export type KernelCounters = Readonly<
  Record<
    | 'launches'
    | 'blocks'
    | 'threads'
    | 'barriers'
    | 'collectives'
    | 'loadBytes'
    | 'loadRequests'
    | 'loadSectors'
    | 'storeBytes'
    | 'storeRequests'
    | 'storeSectors'
    | 'sharedRequests'
    | 'bankConflicts',
    number
  >
>;

/** The emulated chip. `seed` chooses among shuffled orders. */
export interface EmulatedChip {
  smCount: number;
  blocksPerSm: number;
  order: 'forward' | 'reverse' | 'shuffled';
  seed: number;
  /** It has cooperative launches, by default. */
  cooperative?: boolean;
  /** It has warpgroup products (wgmma), by default not. */
  wgmma?: boolean;
}

/** The exports of the native module, typed. This file is the only one that loads it. */
export interface Addon {
  readonly flavour: Flavour;
  /** @throws NativeError when the device cannot be opened. `onLost` is called at most once. */
  readonly Device: new (
    options: {
      ordinal: number;
      graphs: boolean;
      /** One family of matrix products, none of a library. */
      batchInvariant: boolean;
      /** Where timed choices between our products and the library's are kept; '' for nowhere. */
      choicesFile: string;
      /** Where it is kept which trials of kernels have begun and ended; '' for nowhere. */
      trialsFile: string;
      /** As CudaOptions. */
      prefill: 'trial' | 'wgmma';
    },
    onLost: (error: NativeError) => void,
  ) => NativeDevice;
  probe(): {
    deviceCount: number;
    driverVersion: number;
    runtimeVersion: number;
    errorCode: number;
    errorName: string;
  };
  /** Ends the CUDA context of a GPU, and with it a sticky error. Devices on it must have been disposed of. */
  reset(ordinal: number): void;
  reachOneAnother(ordinals: Int32Array): boolean;
  /** @throws Error with the places in which NCCL was looked for, where there is none. */
  uniqueId(): Uint8Array;
}
export interface EmulatorAddon extends Addon {
  setChip(chip: EmulatedChip): void;
  counters(): Record<string, KernelCounters>;
  /** The runtime call after so many more returns this code: sticky ones from then on, others once. */
  injectError(code: number, afterCalls: number): void;
}

/** Where `npm run build:cuda` and `npm run build:cuda-emu` put the module, from the package's folder. */
const files: Readonly<Record<Flavour, string>> = {
  cuda: '../build/cuda/Release/quire_cuda.node',
  emu: '../build/emu/Release/quire_cuda.node',
};
const buildCommands: Readonly<Record<Flavour, string>> = { cuda: 'npm run build:cuda', emu: 'npm run build:cuda-emu' };
/** Holds both flavours, built. */
const platformPackage = `@quire/backend-cuda-${process.platform}-${process.arch}`;

/** Why a flavour of the addon cannot be loaded; the message is one sentence. */
export class AddonUnavailableError extends Error {
  override readonly name = 'AddonUnavailableError';
}

/**
 * The file of a flavour's module: a local build, or else that of the platform's package. QUIRE_CUDA_EMU_ADDON names another
 * build of the emulated flavour, such as the one with sanitizers.
 * @throws AddonUnavailableError when there is none.
 */
export function addonPath(flavour: Flavour): string {
  const named = flavour === 'emu' ? process.env.QUIRE_CUDA_EMU_ADDON : undefined;
  const built = named || fileURLToPath(new URL(files[flavour], import.meta.url));
  if (existsSync(built)) return built;
  try {
    if (named) throw new Error(`${named} does not exist`);
    return createRequire(import.meta.url).resolve(`${platformPackage}/${flavour}/quire_cuda.node`);
  } catch (cause) {
    const advice = `run ${buildCommands[flavour]}, or install ${platformPackage}`;
    throw new AddonUnavailableError(`${nameOf(flavour)}: its addon is not built (${advice}).`, { cause });
  }
}

/** @throws AddonUnavailableError when it was not built, or the system cannot load it. */
export function loadAddon(flavour: Flavour): Addon {
  const path = addonPath(flavour);
  try {
    return createRequire(import.meta.url)(path) as Addon;
  } catch (cause) {
    const why = (cause as Error).message;
    throw new AddonUnavailableError(`${nameOf(flavour)}: its addon does not load (${why}).`, { cause });
  }
}

function nameOf(flavour: Flavour): string {
  return `The ${flavour === 'emu' ? 'emulated CUDA' : 'CUDA'} device`;
}

const NO_DRIVER = 35;
const NO_DEVICE = 100;

/** Why CUDA cannot be used on this machine, in a sentence, or null when it can. */
export function cudaProblem(addon: Addon): string | null {
  const { deviceCount, driverVersion, runtimeVersion, errorCode, errorName } = addon.probe();
  if (errorCode === NO_DRIVER && driverVersion === 0) {
    return 'no NVIDIA driver is installed (libcuda.so.1 was not found).';
  }
  if (errorCode === NO_DRIVER) {
    return `the NVIDIA driver supports CUDA ${version(driverVersion)}, and CUDA ${version(runtimeVersion)} is needed. Update the driver.`;
  }
  if (errorCode === NO_DEVICE || (errorCode === 0 && deviceCount === 0)) return 'the driver finds no CUDA device.';
  return errorCode === 0 ? null : `the driver answers ${errorName} (${errorCode}).`;
}

function version(code: number): string {
  return `${Math.floor(code / 1000)}.${Math.floor((code % 1000) / 10)}`;
}
