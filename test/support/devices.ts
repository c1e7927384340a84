/** Devices for tests. Each is checked for errors after every test, and disposed of after its file. */

import type { CudaDevice, CudaEmuOptions, CudaGroupOptions } from '@quire/backend-cuda';
import type { WebGpuDevice } from '@quire/backend-webgpu';
import { type NodeWebGpuOptions, openNodeWebGpuDevice } from '@quire/backend-webgpu/node';
import type { Device } from '@quire/core/contract';
import { DeviceGroup } from '@quire/core/group';
import { openReferenceDevice } from '@quire/core/reference';
import { afterAll, afterEach } from 'vitest';

export type TestDeviceName = 'reference' | 'webgpu' | 'cuda-emu';

const openers: Record<TestDeviceName, () => Promise<Device>> = {
  reference: () => openTestReference(),
  webgpu: () => openTestWebGpu(),
  'cuda-emu': () => openTestCudaEmu(),
};

const opened = new Set<Device>();

/**
 * The devices that a run must have, from QUIRE_REQUIRE_DEVICES (names with commas between; reference and webgpu when it is
 * not set). Suites that run on every device open each of these: one that is absent fails them, and none is skipped.
 */
export function requiredDevices(): TestDeviceName[] {
  const names = (process.env.QUIRE_REQUIRE_DEVICES || 'reference,webgpu').split(',').map(name => name.trim());
  return names.map(name => {
    if (!Object.hasOwn(openers, name)) {
      throw new Error(`QUIRE_REQUIRE_DEVICES names ${name}; known devices are ${Object.keys(openers).join(', ')}`);
    }
    return name as TestDeviceName;
  });
}

/** `npm run test:e2e:full`: all devices and sizes, of which the gate has time for a part. */
export const fullEndToEnd = process.env.QUIRE_E2E === 'full';

/**
 * Devices of the end-to-end suites that take minutes on an emulated GPU: in the gate those required but cuda-emu, whose own end-to-end
 * suites are in test/cuda-emu; in the full run all.
 */
export function endToEndDevices(): TestDeviceName[] {
  return requiredDevices().filter(name => fullEndToEnd || name !== 'cuda-emu');
}

/** The cases of a suite on one device: `all` on reference and in the full run, `brief` in the gate, where a software GPU takes long. */
export function casesOn<T>(device: TestDeviceName, all: readonly T[], brief: readonly T[]): readonly T[] {
  return device === 'reference' || fullEndToEnd ? all : brief;
}

export function openTestDevice(name: TestDeviceName): Promise<Device> {
  return openers[name]();
}

export async function openTestReference(options?: Parameters<typeof openReferenceDevice>[0]): Promise<Device> {
  return keep(await openReferenceDevice(options));
}

/** WebGPU on the adapter of test/support/global-setup.ts, or the machine's. */
export async function openTestWebGpu(options?: NodeWebGpuOptions): Promise<WebGpuDevice> {
  try {
    return keep(await openNodeWebGpuDevice(options));
  } catch (cause) {
    const advice =
      'install a GPU driver with Vulkan, Metal or Direct3D 12 (on Debian: mesa-vulkan-drivers), or run npm ci, which brings a software adapter for Linux x64';
    throw new Error(`The tests need WebGPU and there is no usable adapter: ${advice}.`, { cause });
  }
}

/** The CUDA kernels on the emulator. Its chip is shared by all devices of the process. */
export async function openTestCudaEmu(options?: CudaEmuOptions): Promise<CudaDevice> {
  const { openCudaEmuDevice } = await import('@quire/backend-cuda');
  return keep(await openCudaEmuDevice(options));
}

/** A group of emulated GPUs. */
export async function openTestCudaEmuGroup(options: CudaGroupOptions & Pick<CudaEmuOptions, 'chip'>) {
  const { openCudaEmuGroup } = await import('@quire/backend-cuda');
  const devices = await openCudaEmuGroup(options);
  const group = new DeviceGroup(devices, reason => {
    for (const device of devices.flat()) device.endGroup(reason);
  });
  return { group: keep(group), devices };
}

function keep<D extends Device>(device: D): D {
  opened.add(device);
  return device;
}

afterEach(async () => {
  // An error that nobody awaited belongs to the test that caused it, not to the next one.
  for (const device of opened) if (device.allocatedBytes() > 0) await device.synchronize();
});

afterAll(async () => {
  for (const device of opened) await device.dispose();
  opened.clear();
});
