/** A device with a fault, to see that the suite notices. */
import type { Bindings, CompileOptions, Device, DeviceTensor, Op, Program, TypedArray } from '@quire/core/contract';

export interface Fault {
  /** What the broken kernel computes instead of `op`. */
  kernel?: (op: Op) => Op;
  /** What it leaves in a tensor, as it would be read. */
  memory?: (contents: TypedArray, tensor: DeviceTensor) => void;
  /** What arrives of what is written to a tensor. */
  written?: (data: TypedArray, tensor: DeviceTensor) => TypedArray;
}

/** `device`, but for the fault. */
export function breakDevice(device: Device, fault: Fault): Device {
  const { kernel = op => op, memory = () => {}, written = data => data } = fault;
  return {
    info: device.info,
    lost: device.lost,
    createTensor: spec => device.createTensor(spec),
    write: (tensor, data, offset) => device.write(tensor, written(data, tensor), offset),
    upload: (tensor, chunks) => device.upload(tensor, chunks),
    async read(tensor: DeviceTensor, offset: number, into: TypedArray): Promise<void> {
      await device.read(tensor, offset, into);
      memory(into, tensor);
    },
    compile: (program: Program, bindings: Bindings, options?: CompileOptions) =>
      device.compile({ ...program, ops: program.ops.map(kernel) }, bindings, options),
    submit: (steps, times) => device.submit(steps, times),
    transfer: (blocks, hostSlots, direction) => device.transfer(blocks, hostSlots, direction),
    synchronize: () => device.synchronize(),
    allocatedBytes: () => device.allocatedBytes(),
    dispose: () => device.dispose(),
  };
}
