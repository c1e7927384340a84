import { DeviceError } from '@quire/core/contract';
import { type Addon, cudaProblem, type EmulatedChip, type EmulatorAddon, loadAddon } from './addon.ts';
import { CudaDevice } from './device.ts';
import { dtypes } from './dtypes.ts';

export {
  AddonUnavailableError,
  type EmulatedChip,
  type EmulatorAddon,
  type GraphInfo,
  type KernelCounters,
} from './addon.ts';
export { CudaDevice } from './device.ts';

export interface CudaOptions {
  /** Index of the GPU; 0 by default. */
  ordinal?: number;
  /** Replay captured graphs in steady decode; true by default. */
  graphs?: boolean;
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
  return open(addon, 'cuda', options);
}

/** Opens the emulated GPU: the CUDA kernels on the processor. The chip is shared by all devices of the process. */
export async function openCudaEmuDevice(
  options: CudaOptions & { chip?: Partial<EmulatedChip> } = {},
): Promise<CudaDevice> {
  const addon = loadEmulator();
  addon.setChip({ smCount: 4, blocksPerSm: 2, order: 'forward', seed: 0, ...options.chip });
  return open(addon, 'cuda-emu', options);
}

/** The emulator's own controls and counters. */
export function loadEmulator(): EmulatorAddon {
  return loadAddon('emu') as EmulatorAddon;
}

function open(addon: Addon, kind: 'cuda' | 'cuda-emu', options: CudaOptions): CudaDevice {
  const native = new addon.Device({ ordinal: options.ordinal ?? 0, graphs: options.graphs ?? true });
  const { name, totalBytes, freeBytes } = native.info();
  return new CudaDevice(native, {
    kind,
    name,
    dtypes,
    limits: { maxTensorBytes: options.maxTensorBytes ?? DEFAULT_MAX_TENSOR_BYTES },
    memory: { total: totalBytes, free: freeBytes },
    capabilities: { hostTier: false, batchInvariant: true, software: kind === 'cuda-emu' },
  });
}
