import type { CudaDevice } from '@quire/backend-cuda';
import type { Bindings, Device, DeviceTensor, Executable, TensorSpec } from '@quire/core/contract';
import { noSizes, ProgramBuilder } from '@quire/core/program';

export { noSizes };

export function createTensor(device: Device, name: string, shape: number[], spec: Partial<TensorSpec> = {}) {
  return device.createTensor({ name, dtype: 'f32', shape, usage: 'state', ...spec });
}

export function floatTensor(device: Device, name: string, values: readonly number[]): DeviceTensor {
  const tensor = createTensor(device, name, [1, values.length]);
  device.write(tensor, Float32Array.from(values));
  return tensor;
}

export async function readFloats(device: Device, tensor: DeviceTensor): Promise<number[]> {
  const into = new Float32Array(tensor.bytes / 4);
  await device.read(tensor, 0, into);
  return [...into];
}

export interface Counter {
  readonly total: DeviceTensor;
  readonly one: DeviceTensor;
  readonly executable: Executable;
}

/** A program that adds 1 to every element of `total` in each step. */
export async function openCounter(device: Device, width = 4): Promise<Counter> {
  const builder = new ProgramBuilder('counter', noSizes);
  builder.external('total', 'f32', [1, width]);
  builder.external('one', 'f32', [1, width]);
  builder.add({ op: 'add', a: 'total', b: 'one', out: 'total' });
  const total = floatTensor(device, 'total', new Array(width).fill(0));
  const one = floatTensor(device, 'one', new Array(width).fill(1));
  return { total, one, executable: await device.compile(builder.build(), { total, one }) };
}

/** A program whose one step keeps the emulator busy for some time: `rounds` layer norms of 64 rows. */
export async function openSlow(device: Device, rounds: number): Promise<Executable> {
  const builder = new ProgramBuilder('slow', noSizes);
  const shape = [64, 1024];
  builder.external('x', 'f32', shape);
  builder.external('weight', 'f32', [1024]);
  builder.external('y', 'f32', shape);
  for (let i = 0; i < rounds; i++) {
    const [x, out] = i % 2 === 0 ? (['x', 'y'] as const) : (['y', 'x'] as const);
    builder.add({ op: 'layerNorm', x, weight: 'weight', out, eps: 1e-5 });
  }
  const bindings: Bindings = {
    x: createTensor(device, 'x', shape),
    y: createTensor(device, 'y', shape),
    weight: createTensor(device, 'weight', [1024]),
  };
  return device.compile(builder.build(), bindings);
}

/** Bytes that the emulated chip has given out. */
export function usedBytes(device: CudaDevice): number {
  const { total, free } = device.info.memory!;
  return total - free;
}
