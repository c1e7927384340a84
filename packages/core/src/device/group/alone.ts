import { type Communicator, type Communicators, DeviceError } from '../../contract/contract.ts';

/** The communicators of a device that is in no group: there is nobody to wait for. What it sends, it receives itself. */
export function alone(): Communicators {
  return { tensor: new Solo(), pipeline: new Solo() };
}

class Solo implements Communicator {
  readonly rank = 0;
  readonly size = 1;
  readonly #sent: Float32Array[] = [];

  allReduce(): void {}

  allGather(data: Float32Array, into: Float32Array): void {
    into.set(data);
  }

  broadcast(): void {}

  send(data: Float32Array): void {
    this.#sent.push(data.slice());
  }

  recv(into: Float32Array): void {
    const data = this.#sent.shift();
    if (data === undefined)
      throw new DeviceError('recv: found nothing that was sent, expected a send before it.', 'recv');
    into.set(data);
  }

  end(): void {}
}
