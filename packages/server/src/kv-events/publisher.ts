import { type BlockObserver, ConfigError, type EngineConfig } from '@quire/core';
import { KvEventBatch } from './events.ts';
import { type KvEventLibraries, loadKvEventLibraries, type Publisher, type Router } from './zeromq.ts';

type KvEventsConfig = NonNullable<EngineConfig['kvEventsConfig']>;

/** Ends a replay: -1 as 8 bytes. */
const END = Buffer.alloc(8, 0xff);

/**
 * Publishes what the prefix cache holds, in vLLM's wire format: over a PUB socket three frames, the topic, the number of the batch
 * (8 bytes, big-endian, from 0) and `[seconds since 1970, [events], rank]` in MessagePack; over a ROUTER socket the batches from a
 * number on, as far as they are kept.
 */
export class KvEventPublisher {
  readonly observer: BlockObserver;
  readonly #config: KvEventsConfig;
  readonly #libraries: KvEventLibraries;
  readonly #batch: KvEventBatch;
  readonly #socket: Publisher;
  readonly #replay: Router | null;
  readonly #kept: { number: bigint; payload: Uint8Array }[] = [];
  #number = 0n;
  /** One send at a time. */
  #sending: Promise<void> = Promise.resolve();

  /** null where the configuration does not ask for events. Rejects with ConfigError for packages that lack, and a taken address. */
  static async open(
    config: EngineConfig['kvEventsConfig'],
    load = loadKvEventLibraries,
  ): Promise<KvEventPublisher | null> {
    if (config === null || !config.enableKvCacheEvents || config.publisher === 'null') return null;
    const libraries = await load();
    const socket = new libraries.zeromq.Publisher({ sendHighWaterMark: config.hwm });
    const replay = config.replayEndpoint === null ? null : new libraries.zeromq.Router();
    const publisher = new KvEventPublisher(config, libraries, socket, replay);
    try {
      await bind(socket, config.endpoint);
      if (replay !== null) await bind(replay, config.replayEndpoint!);
    } catch (error) {
      await publisher.close();
      throw error;
    }
    if (replay !== null) void publisher.#answer(replay);
    return publisher;
  }

  private constructor(config: KvEventsConfig, libraries: KvEventLibraries, socket: Publisher, replay: Router | null) {
    this.#config = config;
    this.#libraries = libraries;
    this.#socket = socket;
    this.#replay = replay;
    // Events of one step go together: none is sent before the step is over.
    this.#batch = new KvEventBatch(() => setImmediate(() => this.#publish()));
    this.observer = this.#batch;
  }

  async close(): Promise<void> {
    await this.#sending;
    this.#socket.close();
    this.#replay?.close();
  }

  #publish(): void {
    const events = this.#batch.take();
    if (events.length === 0) return;
    const payload = this.#libraries.encode([Date.now() / 1000, events, 0]);
    const number = this.#number++;
    if (this.#replay !== null) this.#keep(number, payload);
    const frames = [Buffer.from(this.#config.topic), bytesOf(number), payload];
    this.#sending = this.#sending.then(() => this.#socket.send(frames)).catch(() => undefined);
  }

  #keep(number: bigint, payload: Uint8Array): void {
    this.#kept.push({ number, payload });
    if (this.#kept.length > this.#config.bufferSteps) this.#kept.shift();
  }

  /** A request is the sender, an empty frame, and the number of the first batch that is wanted. */
  async #answer(router: Router): Promise<void> {
    for await (const [sender, empty, start] of router) {
      if (sender === undefined || empty === undefined || start?.length !== 8) continue;
      const from = Buffer.from(start).readBigUInt64BE();
      for (const { number, payload } of this.#kept) {
        if (number >= from) await router.send([sender, empty, bytesOf(number), payload]);
      }
      await router.send([sender, empty, END, Buffer.alloc(0)]);
    }
  }
}

function bytesOf(number: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(number);
  return bytes;
}

async function bind(socket: Publisher, address: string): Promise<void> {
  try {
    await socket.bind(address);
  } catch (error) {
    const reason = (error as Error).message;
    throw new ConfigError(`kvEventsConfig: ${JSON.stringify(address)} cannot be bound: ${reason}.`, 'kvEventsConfig');
  }
}
