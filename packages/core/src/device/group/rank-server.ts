import {
  type Device,
  DeviceError,
  DeviceLostError,
  type DeviceTensor,
  type Executable,
  type OpTiming,
  type TypedArray,
} from '../../contract/contract.ts';
import type { Command, FromRank, Handle, RankError, RankPort, Request, ToRank } from './messages.ts';

/** Serves one rank's device to the thread that plans for the group. The other end is RemoteDevice. */
export function serveRank(device: Device, port: RankPort<FromRank, ToRank>): void {
  const server = new RankServer(device, port);
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
  readonly #tensors = new Map<Handle, DeviceTensor>();
  readonly #executables = new Map<Handle, Executable>();
  /** The first error of a command that no request has been answered with yet. */
  #failure: unknown;

  constructor(device: Device, port: RankPort<FromRank, ToRank>) {
    this.#device = device;
    this.#port = port;
  }

  command(command: Command): void {
    try {
      this.#run(command);
    } catch (error) {
      this.#failure ??= error;
    }
  }

  async request({ request, id }: { request: Request; id: number }): Promise<void> {
    const { result, error } = await this.#answer(request).then(
      value => ({ result: value, error: undefined }),
      (reason: unknown) => ({ result: undefined, error: rankError(reason) }),
    );
    const opCounts = [...this.#executables].map(([handle, executable]) => [handle, executable.opCounts()] as const);
    const allocatedBytes = this.#device.allocatedBytes();
    this.#port.post({ kind: 'answer', id, result, error, opCounts, allocatedBytes });
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

function rankError(error: unknown): RankError {
  const message = error instanceof Error ? error.message : String(error);
  return {
    message,
    op: error instanceof DeviceError ? error.op : undefined,
    lost: error instanceof DeviceLostError,
  };
}
