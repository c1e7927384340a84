import {
  type Bindings,
  type CompileOptions,
  type Device,
  DeviceError,
  type DeviceInfo,
  DeviceLostError,
  type DeviceTensor,
  type Executable,
  FileReadError,
  type FileRows,
  type OpName,
  type Program,
  type SubmitStep,
  type TensorSpec,
  type TypedArray,
} from '@quire/core/contract';
import { assertOffered, checkBindings, checkSizes, planMemory, validateProgram } from '@quire/core/program';
import type { GraphInfo, GroupPlace, NativeDevice, NativeError } from './addon.ts';
import { describePlan, sizeWords } from './compile.ts';
import { CudaExecutable } from './executable.ts';
import { sharedWith } from './fusion.ts';
import { HostTier } from './host-tier.ts';
import { allocateTensor, CudaTensor, specBytes } from './tensor.ts';

/** Alignment of temporaries: a memory transaction of the widest kind, and what tensor-core tiles ask for. */
const ALIGNMENT = 256;

/** Uploads cross in pieces of pinned memory, so many at a time. */
const UPLOAD_PIECE_BYTES = 4 * 2 ** 20;
const UPLOAD_PIECES = 3;

/** What a device is, but for its memory, which changes. */
export type FixedDeviceInfo = Omit<DeviceInfo, 'memory'>;
export interface CudaDeviceParts {
  readonly open: (onLost: (error: NativeError) => void) => NativeDevice;
  readonly describe: (native: NativeDevice) => FixedDeviceInfo;
  readonly onDispose: () => void;
}

/** A Device over the addon. Both flavours are this class. */
export class CudaDevice implements Device {
  readonly info: DeviceInfo;
  readonly lost: Promise<DeviceLostError>;
  readonly #native: NativeDevice;
  #allocated = 0;
  #gone: DeviceLostError | undefined;
  #reportLoss: (error: DeviceLostError) => void = () => {};
  readonly #hostTier: HostTier;
  readonly #onDispose: () => void;
  /** NCCL chooses the order of a sum by the size of the batch. */
  #sumsThroughNccl = false;

  /** @throws NativeError when the device cannot be opened. */
  constructor({ open, describe, onDispose }: CudaDeviceParts) {
    const native = open(error => this.#translate(error));
    this.#native = native;
    this.#onDispose = onDispose;
    this.#hostTier = new HostTier(native);
    const memory = () => this.#memory();
    const { capabilities, ...fixed } = describe(native);
    const isBatchInvariant = () => capabilities.batchInvariant && !this.#sumsThroughNccl;
    this.info = {
      ...fixed,
      capabilities: {
        ...capabilities,
        /** As the group has it that the device has joined. */
        get batchInvariant() {
          return isBatchInvariant();
        },
      },
      get memory() {
        return memory();
      },
    };
    this.lost = new Promise(resolve => {
      this.#reportLoss = resolve;
    });
  }

  createTensor(spec: TensorSpec): CudaTensor {
    this.#checkPresent();
    const bytes = specBytes(spec);
    if (bytes > this.info.limits.maxTensorBytes) {
      throw new DeviceError(
        `tensor ${spec.name}: found ${bytes} bytes, expected at most ${this.info.limits.maxTensorBytes} (maxTensorBytes). Split it.`,
      );
    }
    const tensor = this.#call(() => allocateTensor(this.#native, spec, freed => this.#free(freed)));
    this.#allocated += tensor.bytes;
    if (spec.usage === 'kvCache') this.#hostTier.add(tensor);
    return tensor;
  }

  write(tensor: DeviceTensor, data: TypedArray, offset = 0): void {
    if (this.#gone !== undefined) return;
    const own = this.#own(tensor);
    const start = own.range('write', offset, data);
    this.#call(() => this.#native.write(own.handle, start, bytesOf(data)));
  }

  async upload(tensor: DeviceTensor, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    this.#checkPresent();
    const own = this.#own(tensor);
    const underWay: Promise<void>[] = [];
    let filled = 0;
    for await (const chunk of chunks) {
      if (filled + chunk.length > own.bytes) throw uploadError(own, `more than ${own.bytes} bytes`);
      for (let start = 0; start < chunk.length; start += UPLOAD_PIECE_BYTES) {
        const piece = chunk.subarray(start, start + UPLOAD_PIECE_BYTES);
        underWay.push(this.#uploadPiece(own, piece, filled));
        filled += piece.length;
        if (underWay.length > UPLOAD_PIECES) await underWay.shift();
      }
    }
    await Promise.all(underWay);
    if (filled !== own.bytes) throw uploadError(own, `${filled} bytes`);
  }

  async uploadFiles(tensor: DeviceTensor, pieces: readonly FileRows[]): Promise<void> {
    this.#checkPresent();
    const own = this.#own(tensor);
    for (const { offset, rows, stride } of pieces) {
      if (offset + rows * stride > own.bytes) throw uploadError(own, `bytes up to ${offset + rows * stride}`);
    }
    const numbers = pieces.flatMap(({ descriptor, start, rows, rowBytes, from, bytes, stride, offset }) => {
      return [descriptor, start, rows, rowBytes, from, bytes, stride, own.offset + offset];
    });
    const call = this.#call(() => this.#native.loadFile(own.handle, Float64Array.from(numbers)));
    const missing = await this.#settled(call);
    if (missing !== undefined) throw new FileReadError(pieces[missing.index]!, missing.offset, missing.error);
  }

  /** Resolves when the piece is on the device and its pinned memory is free again. */
  #uploadPiece(tensor: CudaTensor, piece: Uint8Array, offset: number): Promise<void> {
    this.#checkPresent();
    this.#call(() => this.#native.write(tensor.handle, tensor.offset + offset, piece));
    const reached = this.#settled(this.#native.reached());
    // Looked at in its turn: until then a rejection is not unhandled.
    reached.catch(() => {});
    return reached;
  }

  async read(tensor: DeviceTensor, offset: number, into: TypedArray): Promise<void> {
    this.#checkPresent();
    const own = this.#own(tensor);
    const start = own.range('read', offset, into);
    await this.#settled(this.#call(() => this.#native.read(own.handle, start, bytesOf(into))));
  }

  async compile(program: Program, bindings: Bindings, options: CompileOptions = {}): Promise<Executable> {
    this.#checkPresent();
    validateProgram(program);
    checkBindings(program, bindings);
    assertOffered(this.info, program);
    const keepAll = options.keepAll ?? false;
    const maxArenaBytes = this.info.limits.maxTensorBytes;
    const plan = planMemory(program, { alignment: ALIGNMENT, maxArenaBytes, keepAll, sharedWith });
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
    const locate = (name: string) => {
      const place = plan.places[name];
      return place === undefined ? bound.get(name)! : { handle: arenas[place.arena]!.handle, offset: place.offset };
    };
    const { id, workspaceBytes } = this.#call(() => this.#native.compile(describePlan(program, locate, keepAll)));
    this.#allocated += workspaceBytes;
    const executable: CudaExecutable = new CudaExecutable({
      program,
      native: this.#native,
      planId: id,
      plan,
      arenas: arenas.map(arena => arena.handle),
      keepAll,
      settled: promise => this.#settled(promise),
      release: () => {
        for (const unbind of unbinds) unbind();
        this.#native.freePlan(id);
        for (const arena of arenas) arena.dispose();
        this.#free(workspaceBytes);
      },
    });
    const unbinds = [...bound].map(([name, tensor]) => tensor.onDispose(() => executable.loseBinding(name)));
    return executable;
  }

  submit(steps: readonly SubmitStep[], times = 1): void {
    if (this.#gone !== undefined) return;
    if (!Number.isInteger(times) || times < 1)
      throw new DeviceError(`submit: found times ${times}, expected 1 or more.`);
    const words = new Int32Array(steps.length * 8);
    steps.forEach(({ executable, sizes }, i) => {
      const own = ownExecutable(executable);
      checkSizes(own.program, sizes);
      words[i * 8] = own.planId;
      words.set(sizeWords(sizes), i * 8 + 1);
    });
    this.#call(() => this.#native.submit(words, times));
  }

  async tune(executables: readonly Executable[]): Promise<void> {
    this.#checkPresent();
    for (const { planId } of executables.map(ownExecutable)) await this.#settled(this.#native.tune(planId));
  }

  async capture(steps: readonly Executable[]): Promise<void> {
    this.#checkPresent();
    const ids = Int32Array.from(steps, executable => ownExecutable(executable).planId);
    await this.#settled(this.#call(() => this.#native.capture(ids)));
  }

  async transfer(blocks: Int32Array, hostSlots: Int32Array, direction: 'toHost' | 'toDevice'): Promise<void> {
    this.#checkPresent();
    await this.#settled(this.#call(() => this.#hostTier.transfer(blocks, hostSlots, direction)));
  }

  async synchronize(): Promise<void> {
    this.#checkPresent();
    await this.#settled(this.#native.synchronize());
  }

  /** The captured graphs. */
  graphs(): Promise<GraphInfo[]> {
    return this.#native.graphs();
  }

  allocatedBytes(): number {
    return this.#allocated;
  }

  /** Before any member joins, where the members of `tensor`, these GPUs, reach one another's memory. */
  async enterGroup(tensor: GroupPlace, ordinals: Int32Array): Promise<void> {
    this.#checkPresent();
    await this.#settled(this.#native.enterGroup(tensor, ordinals));
  }

  /** The same where the members are processes: what the others must have to open this one's memory. */
  async exportPeer(): Promise<Uint8Array> {
    this.#checkPresent();
    return this.#settled(this.#native.exportPeer());
  }

  /** Opens what all members of `tensor` export, in the order of the ranks. Rejects with the reason where that cannot be. */
  async importPeers(rank: number, exports: readonly Uint8Array[]): Promise<void> {
    this.#checkPresent();
    await this.#settled(this.#call(() => this.#native.importPeers(rank, exports)));
  }

  /**
   * Resolves when all members of both groups have come. Before the first compile. `usesPeers`: every member of `tensor` has entered,
   * or imported; sums then go through the memory of all.
   */
  async joinGroup(tensor: GroupPlace, pipeline: GroupPlace, usesPeers: boolean): Promise<void> {
    this.#checkPresent();
    this.#sumsThroughNccl = tensor.size > 1 && !usesPeers;
    await this.#settled(this.#native.joinGroup(tensor, pipeline, usesPeers));
  }

  /**
   * The group ends in order: this device waits for nobody any more, and has closed the memory of the others when it resolves. To be
   * disposed of when all members have.
   */
  async leaveGroup(): Promise<void> {
    if (this.#gone === undefined) await this.#native.leaveGroup();
  }

  /** Its group has ended: everything rejects with the reason, and the device waits for nobody any more. */
  endGroup(reason: string): void {
    this.#gone ??= new DeviceLostError(reason);
    this.#native.abortGroup();
  }

  async dispose(): Promise<void> {
    this.#gone ??= new DeviceLostError('The device was disposed. Open a new one.');
    this.#allocated = 0;
    await this.#native.dispose();
    this.#onDispose();
  }

  /** As the driver tells it now: null once the device is gone. */
  #memory(): DeviceInfo['memory'] {
    if (this.#gone !== undefined) return null;
    const { totalBytes, freeBytes } = this.#call(() => this.#native.info());
    return { total: totalBytes, free: freeBytes };
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

function ownExecutable(executable: Executable): CudaExecutable {
  if (!(executable instanceof CudaExecutable)) {
    throw new DeviceError(
      `program ${executable.program.name}: found one compiled by another device, expected one of this device.`,
    );
  }
  executable.checkLive();
  return executable;
}

function bytesOf(data: TypedArray): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function uploadError(tensor: CudaTensor, found: string): DeviceError {
  return new DeviceError(`upload of tensor ${tensor.spec.name}: found ${found}, expected ${tensor.bytes}.`);
}
