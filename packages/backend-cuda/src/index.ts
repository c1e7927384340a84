import { DeviceError, DeviceLostError } from '@quire/core/contract';
import {
  type Addon,
  cudaProblem,
  type EmulatedChip,
  type EmulatorAddon,
  loadAddon,
  type NativeError,
  type NativeInfo,
} from './addon.ts';
import { CudaDevice } from './device.ts';
import { dtypes, groupDTypes } from './dtypes.ts';
import { foundOutFile } from './found-out-files.ts';
import { gridOfOrdinals, joinGroups, ordinalOfRank, uniqueId } from './group.ts';

export {
  AddonUnavailableError,
  type EmulatedChip,
  type EmulatorAddon,
  type GraphInfo,
  type KernelCounters,
} from './addon.ts';
export { CudaDevice } from './device.ts';
export { NcclUnavailableError } from './group.ts';

export interface CudaOptions {
  /** Index of the GPU; 0 by default. */
  ordinal?: number;
  /** Replay captured graphs in steady decode; true by default. */
  graphs?: boolean;
  /**
   * Equal inputs give bit-equal logits in any batch, at the price of speed above 16 rows. Default: false on a GPU, where cuBLASLt
   * then computes the matrix products in which it is faster (QUIRE_CUBLASLT is the absolute path of another copy of it); true on
   * the emulator.
   */
  batchInvariant?: boolean;
  /**
   * Long prompts on the warpgroup products of GPUs that have them: 'trial' where a trial on the GPU shows that right and faster, and
   * not with batchInvariant, whose bits are to depend on no times; 'wgmma' always, prompts of any length, for checks. 'trial' by
   * default.
   */
  prefill?: 'trial' | 'wgmma';
  /** The folder in which timed choices are kept from run to run. Default: `quire` in the user's folder of caches. */
  cacheFolder?: string;
  /** Bytes; tests force it small. */
  maxTensorBytes?: number;
}

const DEFAULT_MAX_TENSOR_BYTES = 2 ** 40;

/**
 * Opens an NVIDIA GPU.
 * @throws AddonUnavailableError when the addon is not built; DeviceError with one sentence when CUDA is not usable here.
 */
export async function openCudaDevice(options: CudaOptions = {}): Promise<CudaDevice> {
  const addon = loadAddon('cuda');
  const problem = cudaProblem(addon);
  if (problem !== null) throw new DeviceError(`CUDA is not usable: ${problem}`);
  return open(addon, 'cuda', { batchInvariant: false, ...options });
}

export interface CudaEmuOptions extends CudaOptions {
  /** 4 SMs of 2 blocks, in forward order, by default. */
  chip?: Partial<EmulatedChip>;
}

/** Opens the emulated GPU: the CUDA kernels on the processor. The chip is shared by all devices of the process. */
export async function openCudaEmuDevice(options: CudaEmuOptions = {}): Promise<CudaDevice> {
  const addon = loadEmulator();
  addon.setChip({ smCount: 4, blocksPerSm: 2, order: 'forward', seed: 0, ...options.chip });
  return open(addon, 'cuda-emu', options);
}

/** The emulator's own controls and counters. */
export function loadEmulator(): EmulatorAddon {
  return loadAddon('emu') as EmulatorAddon;
}

export interface CudaGroupOptions extends Omit<CudaOptions, 'ordinal'> {
  /** GPUs that divide each weight. Default 1. */
  tensorParallelSize?: number;
  /** Stages that divide the layers. Default 1. */
  pipelineParallelSize?: number;
}

/**
 * Opens GPUs 0, 1 .. as the members of a group, by stage and rank. Each has a native thread of its own; they meet through NCCL.
 * @throws as openCudaDevice; DeviceError also when there are too few GPUs; NcclUnavailableError when NCCL is not found.
 */
export async function openCudaGroup(options: CudaGroupOptions): Promise<CudaDevice[][]> {
  const addon = loadAddon('cuda');
  const problem = cudaProblem(addon);
  if (problem !== null) throw new DeviceError(`CUDA is not usable: ${problem}`);
  return openGroup(addon, 'cuda', { batchInvariant: false, ...options });
}

/** The same on GPUs of the emulated machine. */
export async function openCudaEmuGroup(
  options: CudaGroupOptions & Pick<CudaEmuOptions, 'chip'>,
): Promise<CudaDevice[][]> {
  const addon = loadEmulator();
  addon.setChip({ smCount: 4, blocksPerSm: 2, order: 'forward', seed: 0, ...options.chip });
  return openGroup(addon, 'cuda-emu', options);
}

async function openGroup(addon: Addon, kind: Kind, options: CudaGroupOptions): Promise<CudaDevice[][]> {
  const { tensorParallelSize = 1, pipelineParallelSize = 1, ...own } = options;
  const ordinals = gridOfOrdinals(pipelineParallelSize, tensorParallelSize, addon.probe().deviceCount);
  // Sums in the memory of all ranks have one order at every size; NCCL chooses by the size of the batch.
  const peers = ordinals.every(ranks => addon.reachOneAnother(Int32Array.from(ranks)));
  const batchInvariant = (own.batchInvariant ?? true) && (peers || tensorParallelSize === 1);
  const opened: CudaDevice[] = [];
  try {
    const grid = ordinals.map(ranks => {
      return ranks.map(ordinal => {
        const device = open(addon, kind, { ...own, batchInvariant, ordinal }, true);
        opened.push(device);
        return device;
      });
    });
    await joinGroups(addon, grid, peers ? ordinals : null);
    return grid;
  } catch (error) {
    await Promise.all(opened.map(device => device.dispose()));
    throw error;
  }
}

/** The device of one rank of a group whose others are in other processes. */
export interface CudaRank {
  readonly device: CudaDevice;
  /** What all members of a group of so many need to find one another; empty for a group of one. Made by one of them. */
  groupId(size: number): Uint8Array;
}

export interface CudaRankOptions extends Omit<CudaOptions, 'ordinal'> {
  /** Among the processes of this machine. It has the GPU of this index, or the only one that it sees. */
  localRank: number;
}

/**
 * Opens the GPU of a rank. It reaches the others once `joinGroup` of its device has resolved, and before the first compile: through
 * NCCL, and, where all of a stage have imported what they export, through the memory of all.
 * @throws as openCudaGroup
 */
export async function openCudaRank(options: CudaRankOptions): Promise<CudaRank> {
  const addon = loadAddon('cuda');
  const problem = cudaProblem(addon);
  if (problem !== null) throw new DeviceError(`CUDA is not usable: ${problem}`);
  return openRank(addon, 'cuda', { batchInvariant: false, ...options });
}

/** The same on a GPU of the emulated machine, of which each process has one of its own. */
export async function openCudaEmuRank(options: CudaRankOptions & Pick<CudaEmuOptions, 'chip'>): Promise<CudaRank> {
  const addon = loadEmulator();
  addon.setChip({ smCount: 4, blocksPerSm: 2, order: 'forward', seed: 0, ...options.chip });
  return openRank(addon, 'cuda-emu', options);
}

function openRank(addon: Addon, kind: Kind, options: CudaRankOptions): CudaRank {
  const { localRank, ...own } = options;
  const ordinal = ordinalOfRank(localRank, addon.probe().deviceCount);
  const device = open(addon, kind, { ...own, ordinal }, true);
  return { device, groupId: size => uniqueId(addon, size) };
}

type Kind = 'cuda' | 'cuda-emu';

/** Devices of this process that hold the context of a GPU of their flavour. */
const live = new Map<CudaDevice, number>();

function open(addon: Addon, kind: Kind, options: CudaOptions, inGroup = false): CudaDevice {
  try {
    return openOnce(addon, kind, options, inGroup);
  } catch (cause) {
    if ((cause as NativeError).sticky === true) return reopen(addon, kind, options, inGroup, cause);
    throw new DeviceError((cause as Error).message, undefined, { cause });
  }
}

/** After a sticky error only a new context helps, and it may be made when nobody uses the old one. It is tried once. */
function reopen(addon: Addon, kind: Kind, options: CudaOptions, inGroup: boolean, first: unknown): CudaDevice {
  const { ordinal = 0 } = options;
  try {
    if ([...live].some(([device, used]) => device.info.kind === kind && used === ordinal)) throw first;
    addon.reset(ordinal);
    return openOnce(addon, kind, options, inGroup);
  } catch (cause) {
    const advice = 'Dispose of every device of this process and open it again, or start a new process.';
    const message = `The device cannot be opened after it was lost: ${(cause as Error).message}. ${advice}`;
    throw new DeviceLostError(message, undefined, { cause });
  }
}

function openOnce(addon: Addon, kind: Kind, options: CudaOptions, inGroup: boolean): CudaDevice {
  const { ordinal = 0, graphs = true, batchInvariant = true, prefill = 'trial' } = options;
  const { maxTensorBytes = DEFAULT_MAX_TENSOR_BYTES } = options;
  const fileOf = (what: 'choices' | 'trials') =>
    batchInvariant ? '' : foundOutFile(what, addon.flavour, options.cacheFolder);
  const files = { choicesFile: fileOf('choices'), trialsFile: fileOf('trials') };
  const device = new CudaDevice({
    open: onLost => new addon.Device({ ordinal, graphs, batchInvariant, ...files, prefill }, onLost),
    describe: native => ({
      kind,
      name: nameOf(native.info()),
      dtypes: inGroup ? groupDTypes : dtypes,
      ranks: 1,
      stages: 1,
      limits: { maxTensorBytes },
      capabilities: { hostTier: true, batchInvariant, graphs, software: kind === 'cuda-emu' },
    }),
    onDispose: () => live.delete(device),
  });
  live.set(device, ordinal);
  return device;
}

/** The GPU, and what it is used with: so `quire devices` tells it once. */
function nameOf({ name, hasLinearLibrary, linearLibrary }: NativeInfo): string {
  if (hasLinearLibrary) return `${name} with cuBLASLt ${linearLibrary}`;
  return linearLibrary === '' ? name : `${name} without cuBLASLt: ${linearLibrary}`;
}
