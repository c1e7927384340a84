import {
  type Bindings,
  type Communicators,
  type CompileOptions,
  type Device,
  DeviceError,
  type DeviceInfo,
  DeviceLostError,
  type DeviceTensor,
  type Executable,
  type OpTiming,
  type Program,
  type StepSizes,
  type SubmitStep,
  type TensorSpec,
  type TypedArray,
} from '../../contract/contract.ts';
import { assertOffered, checkBindings, checkSizes, tensorBytes, validateProgram } from '../../program/index.ts';
import { alone } from '../group/alone.ts';
import { dtypes } from './dtypes.ts';
import { ReferenceExecutable } from './executable.ts';
import { HostTier } from './host-tier.ts';
import { TaskQueue } from './queue.ts';
import { type Ledger, ReferenceTensor, specBytes } from './tensor.ts';

export interface ReferenceDeviceOptions {
  /** Bytes; 2 GiB by default. Tests force it small. */
  maxTensorBytes?: number;
  /** How it reaches the others of its group. Default: it is alone. */
  communicators?: Communicators;
}

const DEFAULT_MAX_TENSOR_BYTES = 2 ** 31;

/** Opens the device that always works: plain TypeScript that stores in the tensors' dtypes and accumulates in f64. */
export async function openReferenceDevice(options: ReferenceDeviceOptions = {}): Promise<ReferenceDevice> {
  return new ReferenceDevice(options.maxTensorBytes ?? DEFAULT_MAX_TENSOR_BYTES, options.communicators ?? alone());
}

export class ReferenceDevice implements Device {
  readonly info: DeviceInfo;
  readonly lost: Promise<DeviceLostError>;
  readonly #queue = new TaskQueue();
  readonly #caches = new Set<ReferenceTensor>();
  readonly #hostTier = new HostTier();
  readonly #tensors = new WeakSet<DeviceTensor>();
  readonly #executables = new WeakSet<Executable>();
  readonly #ledger: Ledger;
  readonly #communicators: Communicators;
  #allocated = 0;
  #reportLoss: (error: DeviceLostError) => void = () => {};
  /** Set once the device is lost or disposed. */
  #gone: DeviceLostError | undefined;
  /** The first error of a submit that no read or synchronize has rejected with yet. */
  #failure: Error | undefined;

  constructor(maxTensorBytes: number, communicators: Communicators) {
    this.#communicators = communicators;
    this.info = {
      kind: 'reference',
      name: 'TypeScript, accumulating in f64',
      dtypes,
      ranks: 1,
      stages: 1,
      limits: { maxTensorBytes },
      memory: null,
      capabilities: { hostTier: true, batchInvariant: true, graphs: false, software: true },
    };
    this.lost = new Promise(resolve => {
      this.#reportLoss = resolve;
    });
    this.#ledger = {
      allocate: bytes => {
        if (this.#gone !== undefined) throw this.#gone;
        this.#allocated += bytes;
      },
      free: bytes => {
        this.#allocated = Math.max(0, this.#allocated - bytes);
      },
    };
  }

  createTensor(spec: TensorSpec): DeviceTensor {
    this.#checkPresent();
    this.#checkSize(`tensor ${spec.name}`, specBytes(spec));
    const tensor: ReferenceTensor = this.#outOfMemory(
      `tensor ${spec.name}`,
      () => new ReferenceTensor(spec, this.#ledger, undefined, () => this.#caches.delete(tensor)),
    );
    this.#tensors.add(tensor);
    if (spec.usage === 'kvCache') this.#caches.add(tensor);
    return tensor;
  }

  write(tensor: DeviceTensor, data: TypedArray, offset = 0): void {
    if (this.#gone !== undefined) return;
    const own = this.#own(tensor);
    own.checkRange('write', offset, data);
    const copy = data.slice();
    this.#queue.push({ heavy: false, run: () => own.write(copy, offset), abandon: () => {} });
  }

  async upload(tensor: DeviceTensor, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    this.#checkPresent();
    const own = this.#own(tensor);
    let filled = 0;
    for await (const chunk of chunks) {
      if (filled + chunk.length > own.bytes) throw uploadError(own, `more than ${filled + chunk.length - 1} bytes`);
      await this.#enqueue(() => own.writeBytes(chunk, filled));
      filled += chunk.length;
    }
    if (filled !== own.bytes) throw uploadError(own, `${filled} bytes`);
  }

  async read(tensor: DeviceTensor, offset: number, into: TypedArray): Promise<void> {
    this.#checkPresent();
    const own = this.#own(tensor);
    own.checkRange('read', offset, into);
    await this.#enqueue(() => {
      this.#rejectFailure();
      own.read(offset, into);
    });
  }

  async compile(program: Program, bindings: Bindings, options: CompileOptions = {}): Promise<Executable> {
    this.#checkPresent();
    validateProgram(program);
    checkBindings(program, bindings);
    assertOffered(this.info, program);
    for (const [name, tensor] of Object.entries(program.tensors)) {
      if (tensor.kind === 'external') this.#checkLive(this.#own(bindings[name]!));
      else this.#checkSize(`temporary ${name} of program ${program.name}`, tensorBytes(tensor, program.maxSizes));
    }
    const host = {
      maxTensorBytes: this.info.limits.maxTensorBytes,
      keepAll: options.keepAll ?? false,
      ledger: this.#ledger,
      communicators: this.#communicators,
      profile: (executable: ReferenceExecutable, sizes: StepSizes) => this.#profile(executable, sizes),
    };
    const executable = this.#outOfMemory(
      `program ${program.name}`,
      () => new ReferenceExecutable(program, bindings, host),
    );
    for (const tensor of executable.temporaries) this.#tensors.add(tensor);
    this.#executables.add(executable);
    return executable;
  }

  submit(steps: readonly SubmitStep[], times = 1): void {
    if (this.#gone !== undefined) return;
    if (!Number.isInteger(times) || times < 1)
      throw new DeviceError(`submit: found times ${times}, expected 1 or more.`);
    const list = steps.map(({ executable, sizes }) => {
      const own = this.#ownExecutable(executable);
      checkSizes(own.program, sizes);
      return { executable: own, sizes: { ...sizes } };
    });
    const state = { failed: false };
    for (let repeat = 0; repeat < times; repeat++) {
      this.#queue.push({ heavy: true, run: () => this.#runList(list, state), abandon: () => {} });
    }
  }

  async transfer(blocks: Int32Array, hostSlots: Int32Array, direction: 'toHost' | 'toDevice'): Promise<void> {
    this.#checkPresent();
    if (blocks.length !== hostSlots.length) {
      throw new DeviceError(
        `transfer: found ${blocks.length} blocks and ${hostSlots.length} host slots, expected as many.`,
      );
    }
    const [from, slots] = [blocks.slice(), hostSlots.slice()];
    await this.#enqueue(() => {
      from.forEach((block, i) => {
        this.#hostTier.move([...this.#caches], block, slots[i]!, direction);
      });
    });
  }

  async synchronize(): Promise<void> {
    this.#checkPresent();
    await this.#enqueue(() => this.#rejectFailure());
  }

  allocatedBytes(): number {
    return this.#allocated;
  }

  async dispose(): Promise<void> {
    this.#end(new DeviceLostError('The device was disposed. Open a new one.'));
    this.#allocated = 0;
    this.#hostTier.clear();
  }

  /** Loses the device as a GPU would be lost. */
  loseForTest(reason: string): void {
    this.#lose(reason);
  }

  #lose(reason: string): void {
    const error = new DeviceLostError(
      `The device was lost: ${reason}. Open a new one and compute the running requests again.`,
    );
    if (this.#gone === undefined) this.#reportLoss(error);
    this.#end(error);
  }

  #end(error: DeviceLostError): void {
    this.#gone ??= error;
    this.#queue.abandon(this.#gone);
  }

  #runList(list: readonly { executable: ReferenceExecutable; sizes: StepSizes }[], state: { failed: boolean }): void {
    if (state.failed) return;
    try {
      for (const { executable, sizes } of list) executable.run(sizes);
    } catch (error) {
      state.failed = true;
      this.#failure ??= error as Error;
      this.#leaveGroup((error as Error).message);
    }
  }

  /** Others would wait for this device at the next exchange, or go on with something else than it has: the group ends. */
  #leaveGroup(reason: string): void {
    const { tensor, pipeline } = this.#communicators;
    if (tensor.size * pipeline.size === 1) return;
    tensor.end();
    pipeline.end();
    this.#lose(`rank ${tensor.rank} of stage ${pipeline.rank} of a group failed: ${reason}`);
  }

  #profile(executable: ReferenceExecutable, sizes: StepSizes): Promise<OpTiming[]> {
    this.#checkPresent();
    this.#ownExecutable(executable);
    checkSizes(executable.program, sizes);
    return this.#enqueue(() => executable.time(sizes), true);
  }

  /** Runs `work` at its place in the queue. */
  #enqueue<T>(work: () => T, heavy = false): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#gone !== undefined) {
        reject(this.#gone);
        return;
      }
      const run = () => {
        try {
          resolve(work());
        } catch (error) {
          reject(error);
        }
      };
      this.#queue.push({ heavy, run, abandon: reject });
    });
  }

  #rejectFailure(): void {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
  }

  #checkPresent(): void {
    if (this.#gone !== undefined) throw this.#gone;
  }

  #checkSize(what: string, bytes: number): void {
    const { maxTensorBytes } = this.info.limits;
    if (bytes <= maxTensorBytes) return;
    throw new DeviceError(
      `${what}: found ${bytes} bytes, expected at most ${maxTensorBytes} (maxTensorBytes). Split it.`,
    );
  }

  #own(tensor: DeviceTensor): ReferenceTensor {
    if (this.#tensors.has(tensor)) return tensor as ReferenceTensor;
    throw new DeviceError(`tensor ${tensor.spec.name}: found one of another device, expected one of this device.`);
  }

  #checkLive(tensor: ReferenceTensor): void {
    if (!tensor.disposed) return;
    throw new DeviceError(`tensor ${tensor.spec.name}: found a disposed tensor, expected a live one.`);
  }

  #ownExecutable(executable: Executable): ReferenceExecutable {
    const { name } = executable.program;
    if (!this.#executables.has(executable)) {
      throw new DeviceError(`program ${name}: found one compiled by another device, expected one of this device.`);
    }
    const own = executable as ReferenceExecutable;
    if (own.disposed) throw new DeviceError(`program ${name}: found a disposed executable, expected a live one.`);
    for (const binding of Object.keys(own.program.tensors)) {
      const bound = own.bindings[binding];
      if (bound !== undefined) this.#checkLive(bound);
    }
    return own;
  }

  /** JavaScript reports exhausted memory as a RangeError. */
  #outOfMemory<T>(what: string, allocate: () => T): T {
    const before = this.#allocated;
    try {
      return allocate();
    } catch (cause) {
      if (!(cause instanceof RangeError)) throw cause;
      this.#allocated = before;
      throw new DeviceError(`${what}: the memory of this process is exhausted (${cause.message}).`, undefined, {
        cause,
      });
    }
  }
}

function uploadError(tensor: ReferenceTensor, found: string): DeviceError {
  return new DeviceError(`upload of tensor ${tensor.spec.name}: found ${found}, expected ${tensor.bytes}.`);
}
