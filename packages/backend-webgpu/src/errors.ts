import { DeviceError, type DeviceLostError, type OpName } from '@quire/core/contract';
import { opNames } from '@quire/core/program';

/** Label of everything that belongs to one op, so that a validation message of WebGPU tells which one it was. */
export function opLabel(index: number, op: OpName): string {
  return `op ${index} ${op}`;
}

/** The op that a message of WebGPU names by a label of `opLabel`. */
export function opInMessage(message: string): OpName | undefined {
  const name = /\bop \d+ (\w+)/.exec(message)?.[1];
  return opNames.find(op => op === name);
}

export function asDeviceError(error: unknown, what: string, op?: OpName): DeviceError {
  if (error instanceof DeviceError && (op === undefined || error.op !== undefined)) return error;
  const message = error instanceof Error || isGpuError(error) ? error.message : String(error);
  return new DeviceError(`${what}: ${message}`, op ?? opInMessage(message), { cause: error });
}

function isGpuError(error: unknown): error is { message: string } {
  return typeof error === 'object' && error !== null && 'message' in error && typeof error.message === 'string';
}

/**
 * What has gone wrong on a device and was not told yet: the error of a submit waits for the next read or synchronize, and
 * loss rejects everything that is pending, now and later.
 */
export class FaultState {
  readonly lost: Promise<DeviceLostError>;
  #resolveLost: (error: DeviceLostError) => void = () => {};
  #failure: { error: DeviceError; reported: boolean } | undefined;
  #end: DeviceLostError | undefined;
  readonly #pending = new Set<(error: DeviceLostError) => void>();

  constructor() {
    this.lost = new Promise(resolve => {
      this.#resolveLost = resolve;
    });
  }

  /** Set once the device is lost or disposed of: nothing runs any more. */
  get end(): DeviceLostError | undefined {
    return this.#end;
  }

  /** Keeps the first error until somebody is told. `reported`: it came from WebGPU, perhaps some time after its cause. */
  fail(error: DeviceError, reported = false): void {
    this.#failure ??= { error, reported };
  }

  /** Runs between what a caller asked before and what it asks next: an error of an earlier submit is told now. */
  throwFailure(): void {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure.error;
  }

  /** When the work is done: only what WebGPU has reported meanwhile can be due to earlier submits. */
  throwReported(): void {
    if (this.#failure?.reported) this.throwFailure();
  }

  lose(error: DeviceLostError): void {
    if (this.#end !== undefined) return;
    this.close(error);
    this.#resolveLost(error);
  }

  /** Ends everything that is pending; `lost` does not resolve. */
  close(error: DeviceLostError): void {
    this.#end ??= error;
    for (const reject of this.#pending) reject(this.#end);
    this.#pending.clear();
  }

  /** The work's promise, cut short when the device ends. */
  guard<T>(work: () => Promise<T>): Promise<T> {
    if (this.#end !== undefined) return Promise.reject(this.#end);
    return new Promise<T>((resolve, reject) => {
      this.#pending.add(reject);
      work()
        .then(resolve, error => this.#rejectWith(error, reject))
        .finally(() => this.#pending.delete(reject));
    });
  }

  /** Operations abort just before their device reports its loss: wait a moment for the reason. */
  async #rejectWith(error: unknown, reject: (error: unknown) => void): Promise<void> {
    const aborted = error instanceof Error && error.name === 'AbortError';
    if (aborted) await Promise.race([this.lost, new Promise(resolve => setTimeout(resolve, 250))]);
    reject(this.#end ?? asDeviceError(error, 'the device gave up an operation'));
  }
}
