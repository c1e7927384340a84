/** A model on a device at the other end of messages: what a rank in another process is asked, and that it fills its own weights. */
import { LLM, type ModelSource, parseEngineConfig, rankWeights } from '@quire/core';
import { type Device, DeviceError } from '@quire/core/contract';
import { DeviceGroup, type FromRank, openRemoteDevice, type RankPort, serveRank, type ToRank } from '@quire/core/group';
import { openReferenceDevice } from '@quire/core/reference';
import { afterEach, describe, expect, it } from 'vitest';
import { openFolderSource } from '../../packages/server/src/node/folder-source.ts';
import { decodeMessage, encodeMessage } from '../../packages/server/src/ranks/messages.ts';
import { goldenCases } from '../e2e/models.ts';

const model = 'models/tiny-llama';
const options = { dtype: 'float32', numGpuBlocksOverride: 64, maxNumSeqs: 4, maxNumBatchedTokens: 64 } as const;
const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** Two ends of a way over which only bytes go. */
function ways(): [RankPort<ToRank, FromRank>, RankPort<FromRank, ToRank>] {
  const listeners: ((message: never) => void)[] = [];
  const end = (own: number) => ({
    post(message: unknown) {
      const bytes = encodeMessage(message);
      setImmediate(() => listeners[1 - own]!(decodeMessage(bytes) as never));
    },
    listen(onMessage: (message: never) => void) {
      listeners[own] = onMessage;
    },
    async close() {},
  });
  return [end(0), end(1)] as [RankPort<ToRank, FromRank>, RankPort<FromRank, ToRank>];
}

/** A group of one rank, whose device is at the other end. */
async function openFar(fill: (device: Device) => NonNullable<Parameters<typeof serveRank>[2]>['fill']) {
  const [near, far] = ways();
  const device = await openReferenceDevice();
  const opening = openRemoteDevice(near, { hasFiles: true });
  serveRank(device, far, { fill: fill(device)! });
  const group = new DeviceGroup([[await opening]], () => {});
  closing.push(() => group.dispose());
  return { device, group };
}

async function openSource(): Promise<ModelSource> {
  const source = await openFolderSource(model);
  closing.push(() => source.close());
  return source;
}

/** The source of the rank that plans: of its weights, only the headers are read. */
function withoutWeights(source: ModelSource): ModelSource & { mostRead: number } {
  const watched = {
    mostRead: 0,
    location: source.location,
    list: () => source.list(),
    size: (file: string) => source.size(file),
    close: () => source.close(),
    read(file: string, start: number, end: number) {
      if (file.endsWith('.safetensors')) watched.mostRead = Math.max(watched.mostRead, end);
      return source.read(file, start, end);
    },
  };
  return watched;
}

describe('a rank at the other end of messages', () => {
  it('gives the golden tokens from weights of its own', async () => {
    const source = await openSource();
    const config = parseEngineConfig({ ...options, model });
    const { device, group } = await openFar(device => {
      const filler = rankWeights({ device, rank: 0, ranks: 1, stages: 1, source, config });
      return async tensor => (await filler)(tensor);
    });
    const planning = withoutWeights(await openSource());
    await using llm = new LLM({ ...options, model: planning, device: group }, runtime);
    const golden = goldenCases(model)[0]!;
    const [output] = await llm.generate(golden.prompt, { temperature: 0, maxTokens: 12 });
    expect(output!.outputs[0]!.tokenIds).toEqual(golden.tokenIds.slice(0, 12));
    expect(planning.mostRead).toBeLessThan(100_000);
    expect(group.allocatedBytes()).toBe(device.allocatedBytes());
    const { executables } = (await llm.load()).runner;
    expect(executables.get('model')!.opCounts().linear).toBeGreaterThan(0);
    // It fills them again.
    await llm.sleep({ discardWeights: true });
    await group.synchronize();
    expect(device.allocatedBytes()).toBe(0);
    await llm.wakeUp();
    const [again] = await llm.generate(golden.prompt, { temperature: 0, maxTokens: 4 });
    expect(again!.outputs[0]!.tokenIds).toEqual(golden.tokenIds.slice(0, 4));
    expect(planning.mostRead).toBeLessThan(100_000);
  });

  it('says what it cannot fill', async () => {
    const source = await openSource();
    const other = parseEngineConfig({ ...options, model, dtype: 'float16' });
    const { group } = await openFar(device => {
      const filler = rankWeights({ device, rank: 0, ranks: 1, stages: 1, source, config: other });
      return async tensor => (await filler)(tensor);
    });
    await using llm = new LLM({ ...options, model: await openSource(), device: group }, runtime);
    const error = await llm.load().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(DeviceError);
    expect((error as Error).message).toMatch(
      /^weight \S+: rank 0 has f32 \[\d.*\], this rank f16 \[.*\]: their files differ\.$/,
    );
  });

  it('answers a request for what it lacks with an error', async () => {
    const [near, far] = ways();
    const opening = openRemoteDevice(near);
    serveRank(await openReferenceDevice(), far);
    const device = await opening;
    const alone = { rank: 0, size: 1, id: new Uint8Array() };
    await expect(device.joinGroup(alone, alone, false)).rejects.toThrow('rank: found a request to join, expected none');
    await device.dispose();
  });
});

const runtime = {
  openDevice: () => Promise.reject(new Error('The test opens its own device.')),
  openSource: openFolderSource,
};
