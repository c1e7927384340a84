import { openWebGpuDevice, type WebGpuDevice, type WebGpuOptions } from '@quire/backend-webgpu';
import type { NodeWebGpuOptions } from '@quire/backend-webgpu/node';
import { dawn } from '@quire/backend-webgpu/node';
import type { Bindings, Device, DeviceTensor, Executable, Op, StepSizes } from '@quire/core/contract';
import { noSizes, ProgramBuilder } from '@quire/core/program';
import { openTestWebGpu } from '../../support/devices.ts';

export { noSizes };

/** A device that is checked and disposed of by test/support. */
export async function openWebGpu(options?: NodeWebGpuOptions): Promise<WebGpuDevice> {
  return (await openTestWebGpu(options)) as WebGpuDevice;
}

/** A device whose GPUDevice the test can reach, to destroy it under the backend's feet. */
export async function openWithGpu(
  options: WebGpuOptions = {},
): Promise<{ device: WebGpuDevice; gpuDevice: GPUDevice }> {
  const gpu = await dawn([]);
  let gpuDevice: GPUDevice | undefined;
  const spied = {
    requestAdapter: async (adapterOptions?: GPURequestAdapterOptions) => {
      const adapter = (await gpu.requestAdapter(adapterOptions))!;
      const requestDevice = async (descriptor?: GPUDeviceDescriptor) => {
        gpuDevice = await adapter.requestDevice(descriptor);
        return gpuDevice;
      };
      return { features: adapter.features, limits: adapter.limits, info: adapter.info, requestDevice };
    },
  } as unknown as GPU;
  return { device: await openWebGpuDevice(spied, options), gpuDevice: gpuDevice! };
}

export function floatTensor(
  device: Device,
  name: string,
  values: readonly number[],
  shape = [1, values.length],
): DeviceTensor {
  const tensor = device.createTensor({ name, dtype: 'f32', shape, usage: 'state' });
  device.write(tensor, Float32Array.from(values));
  return tensor;
}

export async function readFloats(device: Device, tensor: DeviceTensor): Promise<number[]> {
  const into = new Float32Array(tensor.bytes / 4);
  await device.read(tensor, 0, into);
  return [...into];
}

/** A program of one op on external tensors; shapes are those of the tensors. */
export function compileOp(
  device: Device,
  op: Op,
  bindings: Bindings,
  maxSizes: StepSizes = noSizes,
): Promise<Executable> {
  const builder = new ProgramBuilder(`one ${op.op}`, maxSizes);
  for (const [name, { spec }] of Object.entries(bindings)) builder.external(name, spec.dtype, spec.shape);
  builder.add(op);
  return device.compile(builder.build(), bindings);
}

/** x += y, over [rows, 4] tensors of which `tokens` rows are touched. */
export async function compileAccumulate(device: Device, rows = 1) {
  const x = floatTensor(device, 'x', new Array(rows * 4).fill(0), [rows, 4]);
  const y = floatTensor(device, 'y', new Array(rows * 4).fill(1), [rows, 4]);
  const builder = new ProgramBuilder('accumulate', { ...noSizes, tokens: rows });
  for (const name of ['x', 'y']) builder.external(name, 'f32', ['tokens', 4]);
  builder.add({ op: 'add', a: 'x', b: 'y', out: 'x' });
  return { x, y, executable: await device.compile(builder.build(), { x, y }) };
}

/** Numbers that look random and are the same in every run. */
export function noise(count: number, seed = 1): number[] {
  return Array.from({ length: count }, (_, i) => Math.sin((i + 1) * 12.9898 * seed) * 0.9);
}
