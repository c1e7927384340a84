import { openWebGpuDevice } from '@quire/backend-webgpu';
import type { Device } from '@quire/core/contract';
import type { DeviceChoice } from './messages.ts';

export interface OpenedDevice {
  readonly device: Device;
  /** Loses the device, as a driver would. Absent where there is nothing to lose. */
  readonly lose?: () => void;
  /** Why it is not a GPU. */
  readonly notice: string | null;
}

/** Throws DeviceError when WebGPU is asked for and cannot be had. */
export async function openDevice(choice: DeviceChoice): Promise<OpenedDevice> {
  if (choice === 'webgpu') return openOn(requireGpu());
  if (choice === 'reference') return openReference('The reference device was asked for: plain TypeScript, no GPU.');
  const gpu = navigator.gpu;
  if (gpu === undefined) return openReference(NO_WEBGPU);
  try {
    const opened = await openOn(gpu);
    if (!opened.device.info.capabilities.software) return opened;
    const { name } = opened.device.info;
    await opened.device.dispose();
    return openReference(`The only WebGPU adapter here is ${name}, which computes in software.`);
  } catch (cause) {
    return openReference(`WebGPU found no adapter: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
}

/** Keeps the GPUDevice that the backend requests, so that it can be lost. */
async function openOn(gpu: GPU): Promise<OpenedDevice> {
  let requested: GPUDevice | undefined;
  const watched = {
    requestAdapter: async (options?: GPURequestAdapterOptions) => {
      const adapter = await gpu.requestAdapter(options);
      if (adapter === null) return null;
      return new Proxy(adapter, {
        get: (target, name) => {
          if (name === 'requestDevice') return request;
          const value: unknown = Reflect.get(target, name);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      });
      async function request(descriptor?: GPUDeviceDescriptor): Promise<GPUDevice> {
        requested = await adapter!.requestDevice(descriptor);
        return requested;
      }
    },
  };
  const device = await openWebGpuDevice(watched as GPU);
  return { device, lose: () => requested?.destroy(), notice: null };
}

async function openReference(notice: string): Promise<OpenedDevice> {
  const { openReferenceDevice } = await import('@quire/core/reference');
  return { device: await openReferenceDevice(), notice };
}

function requireGpu(): GPU {
  if (navigator.gpu === undefined) throw new Error(NO_WEBGPU);
  return navigator.gpu;
}

const NO_WEBGPU =
  'This browser offers no WebGPU. Chrome and Edge 113, Safari 26 and Firefox 141 do; it also needs https or localhost.';
