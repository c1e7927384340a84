/** What the prefix cache holds, as subscribers of vLLM's wire format get it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { decode, encode } from '@msgpack/msgpack';
import { type EngineConfig, loadEngine, openModelInputs, parseEngineConfig } from '@quire/core';
import { expect, it } from 'vitest';
import { nodeRuntime } from '../../packages/server/src/index.ts';
import { type KvEvent, KvEventBatch } from '../../packages/server/src/kv-events/events.ts';
import { KvEventPublisher } from '../../packages/server/src/kv-events/publisher.ts';
import type { KvEventLibraries } from '../../packages/server/src/kv-events/zeromq.ts';
import { openTestReference } from '../support/devices.ts';
import { tinyLlama } from './tiny-server.ts';

/** Sockets that keep what is sent, and a router that is asked by `ask`. */
class FakeSockets {
  readonly sent: Buffer[][] = [];
  readonly bound: string[] = [];
  readonly replies: Buffer[][] = [];
  ask: (frames: Uint8Array[]) => void = () => {};
  readonly libraries: KvEventLibraries;

  constructor() {
    const { sent, bound, replies } = this;
    const setAsk = (ask: FakeSockets['ask']) => {
      this.ask = ask;
    };
    class Socket {
      async bind(address: string): Promise<void> {
        if (address.includes('taken')) throw new Error('Address already in use');
        bound.push(address);
      }
      close(): void {}
    }
    this.libraries = {
      encode,
      zeromq: {
        Publisher: class extends Socket {
          async send(frames: readonly Uint8Array[]): Promise<void> {
            sent.push(frames.map(frame => Buffer.from(frame)));
          }
        },
        Router: class extends Socket {
          async send(frames: readonly Uint8Array[]): Promise<void> {
            replies.push(frames.map(frame => Buffer.from(frame)));
          }
          async *[Symbol.asyncIterator]() {
            for (;;) yield await new Promise<Uint8Array[]>(setAsk);
          }
        },
      },
    };
  }

  /** The events of all batches, whose numbers and shape are checked. */
  events(): KvEvent[] {
    return this.sent.flatMap(([topic, number, payload], i) => {
      expect(String(topic)).toBe('kv@pod@tiny');
      expect(number!.readBigUInt64BE()).toBe(BigInt(i));
      const [time, events, rank] = decode(payload!) as [number, KvEvent[], number];
      expect(Math.abs(Date.now() / 1000 - time)).toBeLessThan(60);
      expect(rank).toBe(0);
      return events;
    });
  }
}

const config = (more: object = {}): EngineConfig['kvEventsConfig'] => {
  const kvEventsConfig = { enable_kv_cache_events: true, topic: 'kv@pod@tiny', ...more };
  return parseEngineConfig({ model: 'm', kvEventsConfig }).kvEventsConfig;
};

it('blocks that follow each other are one event, and clearing makes what came before void', () => {
  let calls = 0;
  const batch = new KvEventBatch(() => calls++);
  batch.onBlockStored(1, null, new Uint32Array([1, 2]));
  batch.onBlockStored(2, 1, new Uint32Array([3, 4]));
  batch.onBlockStored(3, 1, new Uint32Array([5, 6]));
  batch.onBlockRemoved(3);
  batch.onBlockRemoved(2);
  const common = { type: 'BlockStored', block_size: 2, lora_id: null, medium: 'GPU', lora_name: null };
  expect(batch.take()).toEqual([
    { ...common, block_hashes: [1, 2], parent_block_hash: null, token_ids: [1, 2, 3, 4] },
    { ...common, block_hashes: [3], parent_block_hash: 1, token_ids: [5, 6] },
    { type: 'BlockRemoved', block_hashes: [3, 2], medium: 'GPU' },
  ]);
  expect([calls, batch.take()]).toEqual([1, []]);
  batch.onBlockRemoved(1);
  batch.onBlocksCleared();
  expect(batch.take()).toEqual([{ type: 'AllBlocksCleared' }]);
});

it('an engine tells what a router must know to find prefixes, and nothing of what is salted', async () => {
  const sockets = new FakeSockets();
  const publisher = (await KvEventPublisher.open(config(), async () => sockets.libraries))!;
  expect(sockets.bound).toEqual(['tcp://*:5557']);
  const engineConfig = parseEngineConfig({
    model: tinyLlama,
    numGpuBlocksOverride: 12,
    maxModelLen: 128,
    blockSize: 16,
  });
  const source: { close(): Promise<void> }[] = [];
  const inputs = await openModelInputs(engineConfig, tinyLlama, nodeRuntime, opened => source.push(opened));
  const device = await openTestReference();
  const { asyncLLM } = await loadEngine({ ...inputs, device, config: engineConfig, blockObserver: publisher.observer });
  const prompt = (start: number, length: number) => ({ promptTokenIds: Array.from({ length }, (_, i) => start + i) });
  const run = async (input: { promptTokenIds: number[] }, cacheSalt = '') => {
    for await (const _ of asyncLLM.generate(input, {
      maxTokens: 1,
      temperature: 0,
      ...(cacheSalt ? { cacheSalt } : {}),
    }));
    await sleep(20);
  };
  await run(prompt(300, 50));
  const stored = sockets.events().filter(event => event.type === 'BlockStored');
  expect(sockets.events()[0]).toEqual({ type: 'AllBlocksCleared' });
  expect(stored.flatMap(event => event.token_ids)).toEqual(prompt(300, 48).promptTokenIds);
  expect(stored.flatMap(event => event.block_hashes)).toHaveLength(3);
  expect(stored[0]!.parent_block_hash).toBeNull();

  // The same prompt again stores nothing; one that goes on elsewhere follows the block that they share.
  const before = sockets.events().length;
  await run(prompt(300, 50));
  expect(sockets.events()).toHaveLength(before);
  await run({ promptTokenIds: [...prompt(300, 16).promptTokenIds, ...prompt(600, 17).promptTokenIds] });
  const branch = sockets.events().at(-1)!;
  expect(branch).toMatchObject({ type: 'BlockStored', parent_block_hash: stored[0]!.block_hashes[0] });

  // Nobody need know what is cached under a salt.
  await run(prompt(300, 50), 'secret');
  expect(sockets.events()).toHaveLength(before + 1);

  // Blocks that are taken for others are told, each once.
  for (let i = 0; i < 4; i++) await run(prompt(400 + 100 * i, 100));
  const alive = new Set<number>();
  for (const event of sockets.events()) {
    if (event.type === 'BlockStored') {
      for (const hash of event.block_hashes) {
        expect(alive.has(hash)).toBe(false);
        alive.add(hash);
      }
    }
    if (event.type === 'BlockRemoved') for (const hash of event.block_hashes) expect(alive.delete(hash)).toBe(true);
  }
  expect(alive.size).toBeGreaterThan(0);
  expect(alive.size).toBeLessThan(12);
  asyncLLM.resetPrefixCache();
  await sleep(20);
  expect(sockets.events().at(-1)).toEqual({ type: 'AllBlocksCleared' });
  await asyncLLM.dispose();
  await device.dispose();
  for (const resource of source) await resource.close();
  await publisher.close();
});

it('batches that were missed are sent again, as far as they are kept', async () => {
  const sockets = new FakeSockets();
  const options = config({ replay_endpoint: 'tcp://*:5558', buffer_steps: 3, endpoint: 'ipc:///tmp/a' });
  const publisher = (await KvEventPublisher.open(options, async () => sockets.libraries))!;
  expect(sockets.bound).toEqual(['ipc:///tmp/a', 'tcp://*:5558']);
  for (let i = 1; i <= 5; i++) {
    publisher.observer.onBlockRemoved(i);
    await sleep(5);
  }
  const from = Buffer.alloc(8);
  from.writeBigUInt64BE(3n);
  sockets.ask([Buffer.from('me'), Buffer.alloc(0), from]);
  await sleep(20);
  expect(sockets.replies.map(([who, , number]) => [String(who), number!.readBigInt64BE()])).toEqual([
    ['me', 3n],
    ['me', 4n],
    ['me', -1n],
  ]);
  expect(sockets.replies[0]![3]).toEqual(sockets.sent[3]![2]);
  sockets.ask([Buffer.from('me'), Buffer.from('nonsense')]);
  sockets.ask([Buffer.from('me'), Buffer.alloc(0), Buffer.alloc(8)]);
  await sleep(20);
  await publisher.close();
});

it('says which package is missing, which address is taken, and which field is wrong', async () => {
  await expect(
    KvEventPublisher.open(config({ endpoint: 'tcp://taken' }), async () => new FakeSockets().libraries),
  ).rejects.toThrow('kvEventsConfig: "tcp://taken" cannot be bound: Address already in use.');
  expect(await KvEventPublisher.open(null)).toBeNull();
  expect(await KvEventPublisher.open(config({ publisher: 'null' }))).toBeNull();
  expect(() => config({ endpoints: 'x' })).toThrow(
    'kvEventsConfig has an unknown field "endpoints". Did you mean "endpoint"?',
  );
  expect(() => config({ publisher: 'kafka' })).toThrow('kvEventsConfig: publisher must be one of');
  expect(() => parseEngineConfig({ model: 'm', kvEventsConfig: 3 as never })).toThrow(
    'kvEventsConfig must be an object such as',
  );
});
