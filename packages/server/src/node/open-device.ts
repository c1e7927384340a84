import { ConfigError, type EngineConfig, suggestion } from '@quire/core';
import type { Device } from '@quire/core/contract';
import { placeOfProcess } from '../ranks/launch.ts';
import type { RankPlace } from '../ranks/launcher.ts';
import type { OwnRank, RankGrid } from '../ranks/port.ts';
import { choiceFiles } from './choice-files.ts';
import { hasVulkanLoader, installSoftwareAdapter } from './software-adapter.ts';

/** The only file that names backends. They are imported when they are asked for. */
export const deviceKinds = ['cuda', 'cuda-emu', 'webgpu', 'reference'] as const;
export type DeviceKind = (typeof deviceKinds)[number];

/** Whether a device of this machine can be used, and which, or why not. */
export interface DeviceStatus {
  kind: DeviceKind;
  usable: boolean;
  /** The adapter or GPU; null where there is none. */
  name: string | null;
  /** A device that computes on the processor. */
  software: boolean;
  /** Why it cannot be used. */
  reason: string | null;
}

/** Of an engine's configuration, what a device must be told. Processes of a group compare all of it. */
export interface OpenDeviceOptions extends Partial<EngineConfig> {
  /** Of the reference device: the largest tensor that an op may bind. Default: no bound. */
  maxTensorBytes?: number;
}

/**
 * Opens a device of this machine.
 *
 * auto: CUDA, then a GPU through WebGPU, then the fastest device in software, which is the reference device.
 * @throws ConfigError for an unknown kind, and for one that cannot be used here, with the reason.
 */
export async function openDevice(kind: string = 'auto', options: OpenDeviceOptions = {}): Promise<Device> {
  const { tensorParallelSize = 1, pipelineParallelSize = 1 } = options;
  if (tensorParallelSize * pipelineParallelSize > 1) return openGroup(kind, options);
  if (kind === 'auto') return (await openGpu(options)) ?? openReference();
  if (kind === 'reference') return openReference(options);
  if (kind === 'webgpu') return openWebGpu();
  if (kind === 'cuda' || kind === 'cuda-emu') return openCuda(kind, options);
  throw unknownKind(kind);
}

/** Reference devices meet in shared memory, GPUs through NCCL: threads of this process, or the processes of a launcher. */
async function openGroup(kind: string, options: OpenDeviceOptions): Promise<Device> {
  const place = placeOfProcess(options, process.env);
  if (place !== null) {
    const { leadGroup } = await import('../ranks/lead.ts');
    return leadGroup(place, groupOf(kind, options), options, rankKind => openRank(rankKind, options, place));
  }
  if (kind === 'reference') {
    const { openReferenceGroup } = await import('./reference-group.ts');
    return openReferenceGroup(options);
  }
  if (kind === 'cuda' || kind === 'cuda-emu') return openCudaGroup(kind, options);
  if (kind === 'auto') return openCudaGroup('cuda', options);
  if (!deviceKinds.some(known => known === kind)) throw unknownKind(kind);
  throw noGroups(kind, options);
}

/** The kind of device of a rank, and how many there are. Throws ConfigError for a kind that ranks in processes cannot have. */
export function groupOf(kind: string, options: OpenDeviceOptions): RankGrid {
  const { tensorParallelSize: ranks = 1, pipelineParallelSize: stages = 1 } = options;
  if (kind === 'auto' || kind === 'cuda') return { kind: 'cuda', ranks, stages };
  if (kind === 'cuda-emu') return { kind, ranks, stages };
  throw deviceKinds.some(known => known === kind) ? noGroups(kind, options) : unknownKind(kind);
}

/** The GPU of this process, which is one rank of a group. */
export async function openRank(
  kind: 'cuda' | 'cuda-emu',
  options: OpenDeviceOptions,
  { localRank }: RankPlace,
): Promise<OwnRank> {
  const { enforceEager = false, batchInvariant = false } = options;
  const { openCudaRank, openCudaEmuRank } = await import('@quire/backend-cuda');
  try {
    return await (kind === 'cuda' ? openCudaRank : openCudaEmuRank)({
      localRank,
      graphs: !enforceEager,
      ...(batchInvariant && { batchInvariant }),
    });
  } catch (cause) {
    throw new ConfigError(`The device "${kind}" cannot be opened: ${(cause as Error).message}`, 'device');
  }
}

function noGroups(kind: string, options: OpenDeviceOptions): ConfigError {
  const { tensorParallelSize = 1 } = options;
  const option = tensorParallelSize > 1 ? 'tensorParallelSize' : 'pipelineParallelSize';
  return new ConfigError(
    `${option} is ${options[option]}, but devices of kind ${kind} do not work in groups here. Set it to 1, or take the device cuda, cuda-emu or reference.`,
    option,
  );
}

function unknownKind(kind: string): ConfigError {
  const known = ['auto', ...deviceKinds];
  return new ConfigError(
    `device must be one of ${known.join(', ')}, got "${kind}".${suggestion(kind, known)}`,
    'device',
  );
}

/** Every kind of device with its state on this machine. Opens and closes those that can be opened. */
export async function probeDevices(): Promise<DeviceStatus[]> {
  const statuses: DeviceStatus[] = [];
  for (const kind of deviceKinds) statuses.push(await probe(kind));
  return statuses;
}

async function probe(kind: DeviceKind): Promise<DeviceStatus> {
  try {
    const device = await openDevice(kind);
    const { name, capabilities } = device.info;
    await device.dispose();
    return { kind, usable: true, name, software: capabilities.software, reason: null };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { kind, usable: false, name: null, software: kind === 'cuda-emu', reason };
  }
}

async function openReference(options: OpenDeviceOptions = {}): Promise<Device> {
  const { openReferenceDevice } = await import('@quire/core/reference');
  return openReferenceDevice(options);
}

/** A GPU through CUDA, else through WebGPU, or null where there is none. `quire devices` tells why. */
async function openGpu(options: OpenDeviceOptions): Promise<Device | null> {
  return (await openCuda('cuda', options).catch(() => null)) ?? openWebGpuHardware();
}

/** An NVIDIA GPU, or the CUDA kernels on the emulator. Where batch invariance is not asked for, the backend decides. */
async function openCuda(kind: 'cuda' | 'cuda-emu', options: OpenDeviceOptions): Promise<Device> {
  const { enforceEager = false, batchInvariant = false } = options;
  const { openCudaDevice, openCudaEmuDevice } = await import('@quire/backend-cuda');
  try {
    return await (kind === 'cuda' ? openCudaDevice : openCudaEmuDevice)({
      graphs: !enforceEager,
      ...(batchInvariant && { batchInvariant }),
    });
  } catch (cause) {
    throw new ConfigError(`The device "${kind}" cannot be opened: ${(cause as Error).message}`, 'device');
  }
}

/** GPUs 0, 1 .. of this machine: a native thread each, in this process. */
async function openCudaGroup(kind: 'cuda' | 'cuda-emu', options: OpenDeviceOptions): Promise<Device> {
  const { enforceEager = false, batchInvariant = false, tensorParallelSize = 1, pipelineParallelSize = 1 } = options;
  const [{ openCudaGroup: openCuda, openCudaEmuGroup }, { DeviceGroup }] = await Promise.all([
    import('@quire/backend-cuda'),
    import('@quire/core/group'),
  ]);
  try {
    const devices = await (kind === 'cuda' ? openCuda : openCudaEmuGroup)({
      tensorParallelSize,
      pipelineParallelSize,
      graphs: !enforceEager,
      ...(batchInvariant && { batchInvariant }),
    });
    return new DeviceGroup(devices, reason => {
      for (const device of devices.flat()) device.endGroup(reason);
    });
  } catch (cause) {
    const option = tensorParallelSize > 1 ? 'tensorParallelSize' : 'pipelineParallelSize';
    throw new ConfigError(`The device "${kind}" cannot be opened: ${(cause as Error).message}`, option);
  }
}

async function openWebGpuHardware(): Promise<Device | null> {
  // On Linux Dawn finds adapters through the Vulkan loader alone: without it there is no need to load Dawn.
  if (process.platform === 'linux' && !hasVulkanLoader()) return null;
  try {
    const device = await openNode();
    if (!device.info.capabilities.software) return device;
    await device.dispose();
  } catch {
    // No adapter, or no Dawn for this platform.
  }
  return null;
}

/** Any WebGPU adapter: a GPU, else the driver in software that the development dependencies bring. */
async function openWebGpu(): Promise<Device> {
  const hasLoader = process.platform !== 'linux' || hasVulkanLoader();
  if (hasLoader) {
    const device = await openNode().catch(() => null);
    if (device !== null) return device;
  }
  const software = installSoftwareAdapter();
  try {
    // Dawn looks for drivers once per instance: another adapter name makes it look again.
    return await openNode(hasLoader ? { adapter: 'SwiftShader' } : {});
  } catch (cause) {
    const why = software.adapter === null ? ` And ${software.reason}.` : '';
    throw new ConfigError(`The device "webgpu" cannot be opened: ${(cause as Error).message}${why}`, 'device');
  }
}

async function openNode(options: { adapter?: string } = {}): Promise<Device> {
  const { openNodeWebGpuDevice } = await import('@quire/backend-webgpu/node');
  return openNodeWebGpuDevice({ ...options, choices: choiceFiles() });
}
