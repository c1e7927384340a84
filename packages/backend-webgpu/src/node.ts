/** WebGPU in Node, through Dawn (the npm package `webgpu`). */
import { DeviceError } from '@quire/core/contract';
import { requestAdapter, type WebGpuOptions } from './adapter.ts';
import type { WebGpuDevice } from './device.ts';
import { openOnAdapter } from './index.ts';
import { AdaptivePacer } from './node-pacer.ts';

export interface NodeWebGpuOptions extends WebGpuOptions {
  /** Part of the name of the adapter to use, such as `SwiftShader`. Default: Dawn's choice. */
  adapter?: string;
}

/** Dawn crashes when its instance is collected while a device lives, so instances stay for the life of the process. */
const instances = new Map<string, GPU>();

/** A Dawn instance with these options, kept for the life of the process. */
export async function dawn(options: readonly string[]): Promise<GPU> {
  const key = options.join('\n');
  let instance = instances.get(key);
  if (instance === undefined) {
    const { create } = await import('webgpu');
    instance = create([...options]);
    instances.set(key, instance);
  }
  return instance;
}

/** Opens a device on a WebGPU adapter of this machine. Throws DeviceError when there is none. */
export async function openNodeWebGpuDevice(options: NodeWebGpuOptions = {}): Promise<WebGpuDevice> {
  return openOnAdapter(await nodeAdapter(options), options, new AdaptivePacer());
}

async function nodeAdapter(options: NodeWebGpuOptions): Promise<GPUAdapter> {
  const { adapter } = options;
  try {
    return await requestAdapter(await dawn(adapter === undefined ? [] : [`adapter=${adapter}`]), options);
  } catch (cause) {
    if (cause instanceof DeviceError) throw cause;
    const what =
      adapter === undefined ? 'cannot load Dawn (npm package webgpu)' : `there is no adapter named ${adapter}`;
    throw new DeviceError(`WebGPU: ${what}: ${cause instanceof Error ? cause.message : String(cause)}`, undefined, {
      cause,
    });
  }
}
