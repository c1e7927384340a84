/** Quire's Device over WebGPU, in browsers and in Node. */
import type { DeviceInfo } from '@quire/core/contract';
import { adapterName, chooseTuning, isSoftware, requestAdapter, requestDevice, type WebGpuOptions } from './adapter.ts';
import { browserStore, choicesName, keptChoices } from './choices.ts';
import { WebGpuDevice } from './device.ts';
import { dtypes } from './dtypes.ts';
import { noPacer, type Pacer } from './read-back.ts';

export type { WebGpuOptions } from './adapter.ts';
export type { ChoiceStore } from './choices.ts';
export type { WebGpuDevice } from './device.ts';
export { composeShader, type ShaderVariant, shaderVariants, variantEnables, variantName } from './shader-text.ts';

/**
 * Opens a device on an adapter of `gpu` (`navigator.gpu`, or that of Dawn).
 * Throws DeviceError when there is no adapter, or when it lacks what an option asks for.
 */
export async function openWebGpuDevice(gpu: GPU, options: WebGpuOptions = {}): Promise<WebGpuDevice> {
  return openOnAdapter(await requestAdapter(gpu, options), options, noPacer);
}

/** The same on an adapter that was requested already. */
export async function openOnAdapter(adapter: GPUAdapter, options: WebGpuOptions, pacer: Pacer): Promise<WebGpuDevice> {
  const device = await requestDevice(adapter, options);
  const tuning = chooseTuning(device, adapter.info, options);
  const choices = keptChoices(choicesName(adapter.info), options.choices ?? browserStore);
  return new WebGpuDevice(device, describe(device, adapter.info, options), tuning, pacer, choices);
}

function describe(device: GPUDevice, adapter: GPUAdapterInfo, options: WebGpuOptions): DeviceInfo {
  const { maxBufferSize, maxStorageBufferBindingSize } = device.limits;
  const maxTensorBytes = Math.min(maxBufferSize, maxStorageBufferBindingSize, options.maxTensorBytes ?? Infinity);
  return {
    kind: 'webgpu',
    name: adapterName(adapter),
    dtypes,
    ranks: 1,
    stages: 1,
    limits: { maxTensorBytes: maxTensorBytes & ~255 },
    memory: null,
    capabilities: { hostTier: true, batchInvariant: true, graphs: false, software: isSoftware(adapter) },
  };
}
