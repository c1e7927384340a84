import {
  type Bindings,
  type CompileOptions,
  type Device,
  DeviceError,
  type DeviceInfo,
  DeviceLostError,
  type DeviceTensor,
  type Executable,
  type OpName,
  type Program,
  type SubmitStep,
  type TensorSpec,
  type TypedArray,
} from '@quire/core/contract';
import { assertOffered, checkBindings, checkSizes, planMemory, validateProgram } from '@quire/core/program';
import type { GraphInfo, NativeDevice } from './addon.ts';
import { describePlan, sizeWords } from './compile.ts';
import { CudaExecutable } from './executable.ts';
import { allocateTensor, CudaTensor } from './tensor.ts';

/** Alignment of temporaries: a memory transaction of the widest kind, and what tensor-core tiles ask for. */
const ALIGNMENT = 256;

/** The error that the addon throws or rejects with. */
interface NativeError extends Error {
  cudaCode?: number;
  op?: string;
  sticky?: boolean;
}

/** A Device over the addon. Both flavours are this class. */
export class CudaDevice implements Device {
  readonly info: DeviceInfo;
  readonly lost: Promise<DeviceLostError>;
  readonly #native: NativeDevice;
  #allocated = 0;
  #gone: DeviceLostError | undefined;
  #reportLoss: (error: DeviceLostError) => void = () => {};

  constructor(native: NativeDevice, info: DeviceInfo) {
    this.#native = native;
    this.info = info;
    this.lost = new Promise(resolve => {
      this.#reportLoss = resolve;
    });
  }

  createTensor(spec: TensorSpec): CudaTensor {
    this.#checkPresent();
    const bytes =
      spec.shape.reduce((product, size) => product * size, 1) * (spec.dtype === 'f32' || spec.dtype === 'u32' ? 4 : 2);
    if (bytes > this.info.limits.maxTensorBytes) {
      throw new DeviceError(
        `tensor ${spec.name}: found ${bytes} bytes, expected at most ${this.info.limits.maxTensorBytes} (maxTensorBytes). Split it.`,
      );
    }
    const tensor = this.#call(() => allocateTensor(this.#native, spec, freed => this.#free(freed)));
    this.#allocated += tensor.bytes;
    return tensor;
  }

  write(tensor: DeviceTensor, data: TypedArray, offset = 0): void {
    if (this.#gone !== undefined) return;
    const own = this.#own(tensor);
    const { start } = own.range('write', offset, data);
    this.#call(() => this.#native.write(own.handle, start, bytesOf(data)));
  }

  async upload(tensor: DeviceTensor, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    this.#checkPresent();
    const own = this.#own(tensor);
    let filled = 0;
    for await (const chunk of chunks) {
      if (filled + chunk.length > own.bytes) throw uploadError(own, `more than ${own.bytes} bytes`);
      this.#call(() => this.#native.write(own.handle, own.offset + filled, chunk));
      filled += chunk.length;
      await this.synchronize();
    }
    if (filled !== own.bytes) throw uploadError(own, `${filled} bytes`);
  }

  async read(tensor: DeviceTensor, offset: number, into: TypedArray): Promise<void> {
    this.#checkPresent();
    const own = this.#own(tensor);
    const { start, length } = own.range('read', offset, into);
    const buffer = await this.#settled(this.#call(() => this.#native.read(own.handle, start, length)));
    bytesOf(into).set(new Uint8Array(buffer));
  }

  async compile(program: Program, bindings: Bindings, options: CompileOptions = {}): Promise<Executable> {
    this.#checkPresent();
    validateProgram(program);
    checkBindings(program, bindings);
    assertOffered(this.info, program);
    const keepAll = options.keepAll ?? false;
    const plan = planMemory(program, { alignment: ALIGNMENT, maxArenaBytes: this.info.limits.maxTensorBytes, keepAll });
    const arenas = plan.arenas.map((bytes, i) =>
      this.createTensor({
        name: `arena ${i} of ${program.name}`,
        dtype: 'u32',
        shape: [Math.ceil(bytes / 4)],
        usage: 'state',
      }),
    );
    const bound = new Map(
      Object.entries(program.tensors)
        .filter(([, tensor]) => tensor.kind === 'external')
        .map(([name]) => [name, this.#own(bindings[name]!)]),
    );
    const { id, workspaceBytes } = this.#call(() =>
      this.#native.compile(
        describePlan(program, name => {
          const place = plan.places[name];
          return place === undefined ? bound.get(name)! : { handle: arenas[place.arena]!.handle, offset: place.offset };
        }),
      ),
    );
    this.#allocated += workspaceBytes;
    return new CudaExecutable({
      program,
      native: this.#native,
      planId: id,
      plan,
      arenas: arenas.map(arena => arena.handle),
      keepAll,
      release: () => {
        this.#native.freePlan(id);
        for (const arena of arenas) arena.dispose();
        this.#free(workspaceBytes);
      },
    });
  }

  submit(steps: readonly SubmitStep[], times = 1): void {
    if (this.#gone !== undefined) return;
    if (!Number.isInteger(times) || times < 1)
      throw new DeviceError(`submit: found times ${times}, expected 1 or more.`);
    const words = new Int32Array(steps.length * 8);
    steps.forEach(({ executable, sizes }, i) => {
      if (!(executable instanceof CudaExecutable)) {
        throw new DeviceError(
          `program ${executable.program.name}: found one compiled by another device, expected one of this device.`,
        );
      }
      if (executable.disposed) {
        throw new DeviceError(`program ${executable.program.name}: found a disposed executable, expected a live one.`);
      }
      checkSizes(executable.program, sizes);
      words[i * 8] = executable.planId;
      words.set(sizeWords(sizes), i * 8 + 1);
    });
    this.#call(() => this.#native.submit(words, times));
  }

  async transfer(): Promise<void> {
    throw new DeviceError('transfer: this device has no host tier (capabilities.hostTier is false).');
  }

  async synchronize(): Promise<void> {
    this.#checkPresent();
    await this.#settled(this.#native.synchronize());
  }

  /** The captured graphs with their nodes by kind. */
  graphs(): Promise<GraphInfo[]> {
    return this.#native.graphs();
  }

  allocatedBytes(): number {
    return this.#allocated;
  }

  async dispose(): Promise<void> {
    if (this.#gone === undefined) this.#gone = new DeviceLostError('The device was disposed. Open a new one.');
    this.#allocated = 0;
    await this.#native.dispose();
  }

  #free(bytes: number): void {
    this.#allocated = Math.max(0, this.#allocated - bytes);
  }

  #checkPresent(): void {
    if (this.#gone !== undefined) throw this.#gone;
  }

  #own(tensor: DeviceTensor): CudaTensor {
    if (tensor instanceof CudaTensor) return tensor;
    throw new DeviceError(`tensor ${tensor.spec.name}: found one of another device, expected one of this device.`);
  }

  /** Calls the addon, and turns what it throws into a DeviceError. */
  #call<T>(call: () => T): T {
    try {
      return call();
    } catch (error) {
      throw this.#translate(error as NativeError);
    }
  }

  async #settled<T>(promise: Promise<T>): Promise<T> {
    try {
      const value = await promise;
      if (this.#gone !== undefined) throw this.#gone;
      return value;
    } catch (error) {
      if (error === this.#gone) throw error;
      throw this.#translate(error as NativeError);
    }
  }

  /** A sticky CUDA error ends only with its process: the device is lost. */
  #translate(error: NativeError): DeviceError {
    if (this.#gone !== undefined) return this.#gone;
    const op = error.op === '' ? undefined : (error.op as OpName | undefined);
    if (error.sticky !== true) return new DeviceError(error.message, op, { cause: error });
    const lost = new DeviceLostError(
      `The device was lost: ${error.message}. Open a new one and compute the running requests again.`,
      op,
      {
        cause: error,
      },
    );
    this.#gone = lost;
    this.#reportLoss(lost);
    return lost;
  }
}

function bytesOf(data: TypedArray): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function uploadError(tensor: CudaTensor, found: string): DeviceError {
  return new DeviceError(`upload of tensor ${tensor.spec.name}: found ${found}, expected ${tensor.bytes}.`);
}
