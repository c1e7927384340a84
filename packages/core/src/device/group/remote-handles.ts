import {
  DeviceError,
  type DeviceTensor,
  type Executable,
  type OpName,
  type OpTiming,
  type Program,
  type StepSizes,
  type TensorName,
  type TensorSpec,
} from '../../contract/contract.ts';
import type { Handle } from './messages.ts';

/** A tensor of another thread's device. */
export class RemoteTensor implements DeviceTensor {
  readonly handle: Handle;
  readonly spec: TensorSpec;
  readonly bytes: number;
  readonly #free: () => void;
  #disposed = false;

  constructor(handle: Handle, spec: TensorSpec, bytes: number, free: () => void) {
    this.handle = handle;
    this.spec = spec;
    this.bytes = bytes;
    this.#free = free;
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#free();
  }
}

/** What an executable asks of its device. */
export interface ExecutableCalls {
  tensor(name: TensorName): DeviceTensor;
  profile(sizes: StepSizes): Promise<OpTiming[]>;
  dispose(): void;
}

/** A program on another thread's device. */
export class RemoteExecutable implements Executable {
  readonly handle: Handle;
  readonly program: Program;
  readonly #calls: ExecutableCalls;
  #counts: Partial<Record<OpName, number>> = {};

  constructor(handle: Handle, program: Program, calls: ExecutableCalls) {
    this.handle = handle;
    this.program = program;
    this.#calls = calls;
  }

  tensor(name: TensorName): DeviceTensor {
    return this.#calls.tensor(name);
  }

  profile(sizes: StepSizes): Promise<OpTiming[]> {
    return this.#calls.profile(sizes);
  }

  /** As of the rank's last answer. */
  opCounts(): Partial<Record<OpName, number>> {
    return { ...this.#counts };
  }

  take(counts: Partial<Record<OpName, number>>): void {
    this.#counts = counts;
  }

  dispose(): void {
    this.#calls.dispose();
  }
}

/** Throws DeviceError for a tensor of any other kind of device. */
export function handleOf(tensor: DeviceTensor): Handle {
  if (tensor instanceof RemoteTensor) return tensor.handle;
  throw new DeviceError(`tensor ${tensor.spec.name}: found one of another device, expected one of this rank.`);
}
