import { ConfigError } from '@quire/core';

/** What is used of the package zeromq. */
export interface ZeroMq {
  readonly Publisher: new (options: { sendHighWaterMark: number }) => Publisher;
  readonly Router: new () => Router;
}
export interface Publisher {
  bind(address: string): Promise<void>;
  send(frames: readonly Uint8Array[]): Promise<void>;
  close(): void;
}
export interface Router extends Publisher, AsyncIterable<Uint8Array[]> {}

export interface KvEventLibraries {
  readonly zeromq: ZeroMq;
  /** MessagePack. */
  encode(value: unknown): Uint8Array;
}

/** The packages that a user installs to publish events. Throws ConfigError when one is missing. */
export async function loadKvEventLibraries(): Promise<KvEventLibraries> {
  const [zeromq, msgpack] = await Promise.all([load('zeromq'), load('@msgpack/msgpack')]);
  return { zeromq: zeromq as ZeroMq, encode: (msgpack as { encode(value: unknown): Uint8Array }).encode };
}

/** Not a literal where it is imported: the package need not be there. */
async function load(name: string): Promise<unknown> {
  try {
    return await import(name);
  } catch (cause) {
    const error = new ConfigError(
      `kvEventsConfig needs the package ${name}, which cannot be loaded (${(cause as Error).message.split('\n', 1)[0]}). Install it: npm install zeromq @msgpack/msgpack`,
      'kvEventsConfig',
    );
    error.cause = cause;
    throw error;
  }
}
