import {
  type Device,
  DeviceError,
  DeviceLostError,
  type DeviceTensor,
  type Executable,
  type OpTiming,
  type TypedArray,
} from '../../contract/contract.ts';
import type { Command, FromRank, GroupPlace, Handle, RankError, RankPort, Request, ToRank } from './messages.ts';

/** What a rank does beside its device. A request for what it lacks is an error. */
export interface RankServices {
  /** Fills a weight from the rank's own files. Called again when the last call has settled. */
  fill?(tensor: DeviceTensor): Promise<void>;
  /** What the other ranks of its stage must have to open the memory of its device. */
  exportPeer?(): Promise<Uint8Array>;
  /** Opens what all ranks of its stage export, in their order. */
  importPeers?(rank: number, exports: readonly Uint8Array[]): Promise<void>;
  /** Takes the rank's places in the groups of its stage, and of its rank in all stages. */
  join?(tensor: GroupPlace, pipeline: GroupPlace, usesPeers: boolean): Promise<void>;
  /** Closes what was imported, before any rank is disposed of. */
  leave?(): Promise<void>;
}

/** Serves one rank's device to the thread or process that plans for the group. The other end is RemoteDevice. */
export function serveRank(device: Device, port: RankPort<FromRank, ToRank>, services: RankServices = {}): void {
  const server = new RankServer(device, port, services);
  port.listen(
    message => ('command' in message ? server.command(message.command) : void server.request(message)),
    () => void device.dispose(),
  );
  void device.lost.then(error => port.post({ kind: 'lost', error: rankError(error) }));
  port.post({ kind: 'ready', info: device.info });
}

class RankServer {
  readonly #device: Device;
  readonly #port: RankPort<FromRank, ToRank>;
  readonly #services: RankServices;
  readonly #tensors = new Map<Handle, DeviceTensor>();
  readonly #executables = new Map<Handle, Executable>();
  /** The first error of a command that no request has been answered with yet. */
  #failure: unknown;
  #lastFill: Promise<void> = Promise.resolve();

  constructor(device: Device, port: RankPort<FromRank, ToRank>, services: RankServices) {
    this.#device = device;
    this.#port = port;
    this.#services = services;
  }

  command(command: Command): void {
    try {
      this.#run(command);
    } catch (error) {
      this.#failure ??= error;
      // The others are in the step, and would wait for this rank.
      if (command.kind === 'submit') this.#port.post({ kind: 'lost', error: rankError(error) });
    }
  }

  async request({ request, id }: { request: Request; id: number }): Promise<void> {
    const { result, error } = await this.#answer(request).then(
      value => ({ result: value, error: undefined }),
      (reason: unknown) => ({ result: undefined, error: rankError(reason) }),
    );
    const opCounts = [...this.#executables].map(([handle, executable]) => [handle, executable.opCounts()] as const);
    const allocatedBytes = this.#device.allocatedBytes();
    const memory = request.kind === 'synchronize' ? this.#memory() : {};
    this.#port.post({ kind: 'answer', id, result, error, opCounts, allocatedBytes, ...memory });
  }

  /** Nothing of a device that is lost: the next order says so. */
  #memory() {
    try {
      return { memory: this.#device.info.memory };
    } catch {
      return {};
    }
  }

  #run(command: Command): void {
    switch (command.kind) {
      case 'createTensor':
        this.#tensors.set(command.tensor, this.#device.createTensor(command.spec));
        return;
      case 'temporary':
        this.#tensors.set(command.tensor, this.#executable(command.executable).tensor(command.name));
        return;
      case 'disposeTensor':
        this.#tensors.get(command.tensor)?.dispose();
        this.#tensors.delete(command.tensor);
        return;
      case 'write':
        this.#device.write(this.#tensor(command.tensor), command.data, command.offset);
        return;
      case 'submit': {
        const steps = command.steps.map(({ executable, sizes }) => ({
          executable: this.#executable(executable),
          sizes,
        }));
        this.#device.submit(steps, command.times);
        return;
      }
      case 'disposeExecutable':
        this.#executables.get(command.executable)?.dispose();
        this.#executables.delete(command.executable);
    }
  }

  async #answer(request: Request): Promise<TypedArray | readonly OpTiming[] | undefined> {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined && request.kind !== 'dispose') throw failure;
    switch (request.kind) {
      case 'read':
        await this.#device.read(this.#tensor(request.tensor), request.offset, request.into);
        return request.into;
      case 'compile': {
        const bindings = Object.entries(request.bindings).map(([name, handle]) => [name, this.#tensor(handle)]);
        const { program, options } = request;
        this.#executables.set(
          request.executable,
          await this.#device.compile(program, Object.fromEntries(bindings), options),
        );
        return undefined;
      }
      case 'fill':
        await this.#fill(this.#tensor(request.tensor));
        return undefined;
      case 'exportPeer':
        return offered(this.#services.exportPeer, 'exportPeer')();
      case 'importPeers':
        await offered(this.#services.importPeers, 'importPeers')(request.rank, request.exports);
        return undefined;
      case 'join':
        await offered(this.#services.join, 'join')(request.tensor, request.pipeline, request.usesPeers);
        return undefined;
      case 'leave':
        await offered(this.#services.leave, 'leave')();
        return undefined;
      case 'tune':
      case 'capture':
        await this.#device[request.kind]?.(request.executables.map(handle => this.#executable(handle)));
        return undefined;
      case 'profile':
        return this.#executable(request.executable).profile(request.sizes);
      case 'transfer':
        await this.#device.transfer(request.blocks, request.hostSlots, request.direction);
        return undefined;
      case 'synchronize':
        await this.#device.synchronize();
        return undefined;
      case 'dispose':
        await this.#device.dispose();
        return undefined;
    }
  }

  /** One after another: the rank holds no more than a few chunks of a file. */
  #fill(tensor: DeviceTensor): Promise<void> {
    const fill = offered(this.#services.fill, 'fill');
    this.#lastFill = this.#lastFill.catch(() => {}).then(() => fill(tensor));
    return this.#lastFill;
  }

  #tensor(handle: Handle): DeviceTensor {
    const tensor = this.#tensors.get(handle);
    if (tensor === undefined)
      throw new DeviceError('rank: found a tensor that it does not have, expected one that it has.');
    return tensor;
  }

  #executable(handle: Handle): Executable {
    const executable = this.#executables.get(handle);
    if (executable === undefined) {
      throw new DeviceError('rank: found an executable that it does not have, expected one that it has.');
    }
    return executable;
  }
}

function offered<F>(service: F | undefined, name: string): F {
  if (service !== undefined) return service;
  throw new DeviceError(`rank: found a request to ${name}, expected none: it has no such service.`);
}

function rankError(error: unknown): RankError {
  const message = error instanceof Error ? error.message : String(error);
  return {
    message,
    op: error instanceof DeviceError ? error.op : undefined,
    lost: error instanceof DeviceLostError,
  };
}
