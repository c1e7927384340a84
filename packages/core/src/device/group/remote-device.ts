import {
  type Bindings,
  type CompileOptions,
  type Device,
  DeviceError,
  type DeviceInfo,
  DeviceLostError,
  type DeviceTensor,
  type Executable,
  elementBytes,
  type OpTiming,
  type Program,
  type SubmitStep,
  type TensorName,
  type TensorSpec,
  type TypedArray,
} from '../../contract/contract.ts';
import { resolveShape, wholeRecords } from '../../program/index.ts';
import { specBytes } from '../reference/tensor.ts';
import type { Command, FromRank, GroupPlace, Handle, RankError, RankPort, Request, ToRank } from './messages.ts';
import { handleOf, RemoteExecutable, RemoteTensor } from './remote-handles.ts';

type Answer = Extract<FromRank, { kind: 'answer' }>;

export interface RemoteDeviceOptions {
  /** Such as `The thread of a rank`. */
  readonly who?: string;
  /** The rank fills weights from files of its own. */
  readonly hasFiles?: boolean;
}

/** Resolves with the rank's device when it is ready. Rejects when the rank ends before. */
export function openRemoteDevice(
  port: RankPort<ToRank, FromRank>,
  options: RemoteDeviceOptions = {},
): Promise<RemoteDevice> {
  const { who = 'The thread of a rank', hasFiles = false } = options;
  return new Promise((resolve, reject) => {
    let device: RemoteDevice | undefined;
    port.listen(
      message => {
        if (message.kind === 'ready') {
          device = new RemoteDevice(message.info, port, hasFiles);
          resolve(device);
        } else if (device !== undefined) device.receive(message);
        else if (message.kind === 'lost') reject(new DeviceError(`${who} failed: ${message.error.message}`));
      },
      reason => {
        device?.lose(reason);
        reject(new DeviceError(`${who} ended before it was ready: ${reason}.`));
      },
    );
  });
}

/** The device of another thread or process. Orders are posted to it at once, so they take effect in call order there. */
export class RemoteDevice implements Device {
  readonly info: DeviceInfo;
  readonly lost: Promise<DeviceLostError>;
  readonly #port: RankPort<ToRank, FromRank>;
  readonly #waiting = new Map<number, { resolve(answer: Answer): void; reject(error: Error): void }>();
  readonly #executables = new Map<Handle, RemoteExecutable>();
  #reportLoss: (error: DeviceLostError) => void = () => {};
  #gone: DeviceLostError | undefined;
  #nextHandle = 0;
  #nextId = 0;
  #allocated = 0;
  #memory: DeviceInfo['memory'];
  /** Absent where the rank has no files. */
  readonly fill?: (tensor: DeviceTensor) => Promise<void>;

  constructor(info: DeviceInfo, port: RankPort<ToRank, FromRank>, hasFiles = false) {
    this.#memory = info.memory;
    const memory = () => this.#memory;
    this.info = {
      ...info,
      /** As of the last synchronize. */
      get memory() {
        return memory();
      },
    };
    this.#port = port;
    if (hasFiles) {
      this.fill = async tensor => {
        await this.#request({ kind: 'fill', tensor: handleOf(tensor) });
      };
    }
    this.lost = new Promise(resolve => {
      this.#reportLoss = resolve;
    });
  }

  createTensor(spec: TensorSpec): DeviceTensor {
    this.#checkPresent();
    const bytes = specBytes(spec);
    const { maxTensorBytes } = this.info.limits;
    if (bytes > maxTensorBytes) {
      throw new DeviceError(
        `tensor ${spec.name}: found ${bytes} bytes, expected at most ${maxTensorBytes} (maxTensorBytes). Split it.`,
      );
    }
    const tensor = this.#handle();
    this.#command({ kind: 'createTensor', tensor, spec });
    this.#allocated += bytes;
    return new RemoteTensor(tensor, spec, bytes, () => {
      this.#command({ kind: 'disposeTensor', tensor });
      this.#allocated -= bytes;
    });
  }

  write(tensor: DeviceTensor, data: TypedArray, offset = 0): void {
    this.#command({ kind: 'write', tensor: handleOf(tensor), data, offset });
  }

  async upload(tensor: DeviceTensor, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const size = elementBytes(tensor.spec.dtype);
    let filled = 0;
    for await (const chunk of wholeRecords(chunks, size)) {
      if (filled + chunk.length > tensor.bytes) throw uploadError(tensor, `more than ${tensor.bytes} bytes`);
      // A message would carry all of the buffer that the chunk is a part of.
      const { buffer } = chunk.slice();
      this.write(tensor, size === 4 ? new Uint32Array(buffer) : new Uint16Array(buffer), filled / size);
      // The thread that reads the checkpoint does not run ahead of the one that stores it.
      await this.synchronize();
      filled += chunk.length;
    }
    if (filled !== tensor.bytes) throw uploadError(tensor, `${filled} bytes`);
  }

  async read(tensor: DeviceTensor, offset: number, into: TypedArray): Promise<void> {
    const room = new (into.constructor as new (length: number) => TypedArray)(into.length);
    const { result } = await this.#request({ kind: 'read', tensor: handleOf(tensor), offset, into: room });
    into.set(result as TypedArray);
  }

  async compile(program: Program, bindings: Bindings, options: CompileOptions = {}): Promise<Executable> {
    const executable = this.#handle();
    const externals = Object.entries(bindings).map(([name, tensor]) => [name, handleOf(tensor)]);
    await this.#request({ kind: 'compile', executable, program, bindings: Object.fromEntries(externals), options });
    const remote = new RemoteExecutable(executable, program, {
      tensor: name => this.#temporary(executable, program, name),
      profile: async sizes => {
        const { result } = await this.#request({ kind: 'profile', executable, sizes });
        return result as OpTiming[];
      },
      dispose: () => {
        this.#executables.delete(executable);
        this.#command({ kind: 'disposeExecutable', executable });
      },
    });
    this.#executables.set(executable, remote);
    return remote;
  }

  submit(steps: readonly SubmitStep[], times = 1): void {
    const list = steps.map(({ executable, sizes }) => ({ executable: (executable as RemoteExecutable).handle, sizes }));
    this.#command({ kind: 'submit', steps: list, times });
  }

  async exportPeer(): Promise<Uint8Array> {
    const { result } = await this.#request({ kind: 'exportPeer' });
    return result as Uint8Array;
  }

  async importPeers(rank: number, exports: readonly Uint8Array[]): Promise<void> {
    await this.#request({ kind: 'importPeers', rank, exports });
  }

  /** The rank takes its places: resolves when the others have taken theirs. */
  async joinGroup(tensor: GroupPlace, pipeline: GroupPlace, usesPeers: boolean): Promise<void> {
    await this.#request({ kind: 'join', tensor, pipeline, usesPeers });
  }

  async leaveGroup(): Promise<void> {
    await this.#request({ kind: 'leave' });
  }

  async tune(executables: readonly Executable[]): Promise<void> {
    await this.#request({ kind: 'tune', executables: handlesOf(executables) });
  }

  async capture(steps: readonly Executable[]): Promise<void> {
    await this.#request({ kind: 'capture', executables: handlesOf(steps) });
  }

  async transfer(blocks: Int32Array, hostSlots: Int32Array, direction: 'toHost' | 'toDevice'): Promise<void> {
    await this.#request({ kind: 'transfer', blocks, hostSlots, direction });
  }

  async synchronize(): Promise<void> {
    await this.#request({ kind: 'synchronize' });
  }

  /** As of the rank's last answer, and of tensors created and freed since. */
  allocatedBytes(): number {
    return this.#allocated;
  }

  async dispose(): Promise<void> {
    if (this.#gone === undefined) await this.#request({ kind: 'dispose' }).catch(() => undefined);
    this.#end(new DeviceLostError('The device was disposed. Open a new one.'));
    this.#allocated = 0;
    await this.#port.close();
  }

  /** Called with every message of the rank. */
  receive(message: Exclude<FromRank, { kind: 'ready' }>): void {
    if (message.kind === 'lost') {
      this.lose(message.error.message);
      return;
    }
    const { id, error, opCounts, allocatedBytes, memory } = message;
    for (const [handle, counts] of opCounts) this.#executables.get(handle)?.take(counts);
    this.#allocated = allocatedBytes;
    if (memory !== undefined) this.#memory = memory;
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(message);
    else waiting?.reject(deviceError(error));
  }

  /** The rank is gone: everything that waits rejects. */
  lose(reason: string): void {
    if (this.#gone !== undefined) return;
    const error = new DeviceLostError(reason);
    this.#end(error);
    this.#reportLoss(error);
  }

  #end(error: DeviceLostError): void {
    this.#gone ??= error;
    for (const { reject } of this.#waiting.values()) reject(this.#gone);
    this.#waiting.clear();
  }

  #temporary(executable: Handle, program: Program, name: TensorName): DeviceTensor {
    const declared = program.tensors[name];
    if (declared?.kind !== 'temporary') {
      throw new DeviceError(
        `tensor "${name}" of program ${program.name}: found no temporary of that name, expected one.`,
      );
    }
    const tensor = this.#handle();
    const shape = resolveShape(declared.shape, program.maxSizes);
    const spec = { name, dtype: declared.dtype, shape, usage: 'state' } as const;
    this.#command({ kind: 'temporary', tensor, executable, name });
    return new RemoteTensor(tensor, spec, specBytes(spec), () => {});
  }

  #command(command: Command): void {
    if (this.#gone === undefined) this.#port.post({ command });
  }

  #request(request: Request): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#gone !== undefined) {
        reject(this.#gone);
        return;
      }
      const id = this.#nextId++;
      this.#waiting.set(id, { resolve, reject });
      this.#port.post({ request, id });
    });
  }

  #handle(): Handle {
    return this.#nextHandle++;
  }

  #checkPresent(): void {
    if (this.#gone !== undefined) throw this.#gone;
  }
}

function handlesOf(executables: readonly Executable[]): Handle[] {
  return executables.map(executable => (executable as RemoteExecutable).handle);
}

function uploadError(tensor: DeviceTensor, found: string): DeviceError {
  return new DeviceError(`upload of tensor ${tensor.spec.name}: found ${found}, expected ${tensor.bytes}.`);
}

function deviceError({ message, op, lost }: RankError): DeviceError {
  return lost ? new DeviceLostError(message, op) : new DeviceError(message, op);
}
