/** Adapters in PEFT's files against test/oracles/lora.py (float64 PyTorch, adapter merged into the weights), and many in one batch. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createModelRunner, LLMEngine, parseEngineConfig } from '@quire/core';
import type { Device } from '@quire/core/contract';
import { beforeAll, describe, expect, it } from 'vitest';
import { type AdapterTarget, type AdapterWeights, loadAdapter } from '../../packages/core/src/models/index.ts';
import { openDebugRunner } from '../../packages/core/src/worker/index.ts';
import { openFolderSource } from '../../packages/server/src/node/folder-source.ts';
import { openReferenceGroup } from '../../packages/server/src/node/reference-group.ts';
import { build } from '../server/build.ts';
import {
  endToEndDevices,
  openTestCudaEmuGroup,
  openTestDevice,
  openTestReference,
  requiredDevices,
  type TestDeviceName,
} from '../support/devices.ts';
import { drain } from '../unit/engine/helpers.ts';
import { openModel, relativeL2 } from './models.ts';

const root = join(import.meta.dirname, '../fixtures/adapters');
const models = 'test/fixtures/models';
const MAX_RANK = 8;

interface Expected {
  tokenIds: number[];
  logits: number[][];
}

async function load(
  model: string,
  adapter: string,
  { maxRank = MAX_RANK, dtype = 'f32', ranks = 1 }: Partial<Pick<AdapterTarget, 'maxRank' | 'dtype' | 'ranks'>> = {},
): Promise<AdapterWeights> {
  const { source: modelSource, modelConfig } = await openModel(`${models}/${model}`);
  await modelSource.close();
  const source = await openFolderSource(join(root, model, adapter));
  return loadAdapter(source, { config: modelConfig, maxRank, dtype, ranks }).finally(() => source.close());
}

const expectedOf = (model: string, adapter: string): Expected =>
  JSON.parse(readFileSync(join(root, model, adapter, 'logits.json'), 'utf8'));

/** An engine over a model with room for two adapters, the fixtures' loaded. Ranks of a group divide it. */
async function openEngine(device: Device, options: Record<string, unknown> = {}): Promise<LLMEngine> {
  const { source, modelConfig, checkpoint } = await openModel(`${models}/qwen2-tied`);
  const config = parseEngineConfig({
    blockSize: 4,
    maxNumSeqs: 8,
    maxNumBatchedTokens: 24,
    numGpuBlocksOverride: 100,
    dtype: 'float32',
    enableLora: true,
    maxLoras: 2,
    maxLoraRank: MAX_RANK,
    ...options,
  });
  const opening = createModelRunner({ device, modelConfig, engineConfig: config, checkpoint });
  const executor = await opening.finally(() => source.close());
  const dtype = executor.dtypes.activations as 'f32';
  const room = { maxRank: config.maxLoraRank, dtype, ranks: device.info.ranks };
  const engine = new LLMEngine({
    executor,
    config,
    tokenizer: null,
    eosTokenIds: [],
    loadAdapter: adapter => load('qwen2-tied', adapter as string, room),
  });
  for (const name of ['narrow', 'wide']) await engine.adapters.load({ loraName: name, loraPath: name });
  return engine;
}

const adapters = [null, 'narrow', 'wide', 'narrow'] as const;
const prompts = adapters.map((_, i) => Array.from({ length: 5 + 9 * i }, (_, j) => 3 + ((7 * i + 11 * j) % 60)));

/** Ids and the log-probabilities of all of the likeliest, which show every bit of the logits. */
async function outputsOf(engine: LLMEngine, which: readonly number[]) {
  const groups = which.map(i =>
    engine.add(
      prompts[i]!,
      { temperature: 0, maxTokens: 10, logprobs: 5 },
      adapters[i] === null ? {} : { loraRequest: { loraName: adapters[i]! } },
    ),
  );
  await drain(engine);
  return groups.map(({ sequences: [sequence] }) => ({
    ids: sequence!.request.outputTokens(),
    logprobs: sequence!.logprobs,
  }));
}

describe.each(requiredDevices())('adapters on %s', name => {
  let device: Device;
  beforeAll(async () => {
    device = await openTestDevice(name);
  });

  it.each([
    ['qwen2-tied', 'narrow'],
    ['qwen2-tied', 'wide'],
    ['qwen2-tied', 'one-layer'],
    ['phi3-short', 'fused'],
  ])('%s with %s gives the logits of the oracle', async (model, adapter) => {
    const { tokenIds, logits } = expectedOf(model, adapter);
    const { source, ...opened } = await openModel(`${models}/${model}`);
    const weights = await load(model, adapter);
    const chunks = { maxTokens: tokenIds.length, maxNumBatchedTokens: 20 };
    const opening = openDebugRunner({ device, ...opened, ...chunks, adapter: { weights, maxRank: MAX_RANK } });
    const runner = await opening.finally(() => source.close());
    const found = await runner.forwardLogits(tokenIds);
    runner.dispose();
    expect(relativeL2(found, logits.flat())).toBeLessThan(1e-5);
    // The adapter is far from nothing.
    const plain: Expected = JSON.parse(readFileSync(join(root, '../models', model, 'logits.json'), 'utf8'));
    expect(relativeL2(found, plain.logits.flat())).toBeGreaterThan(0.05);
  });

  it('gives the same bits in one batch as alone', async () => {
    const engine = await openEngine(device, { batchInvariant: name !== 'cuda-emu' });
    const together = await outputsOf(engine, [0, 1, 2, 3]);
    engine.resetPrefixCache();
    for (const i of [3, 2, 1, 0]) {
      const [alone] = await outputsOf(engine, [i]);
      expect(alone, `request ${i}`).toEqual(together[i]);
    }
    expect(new Set(together.map(({ ids }) => String(ids))).size).toBe(together.length);
    await engine.dispose();
  });
});

it('takes turns in one slot, and shares no blocks', async () => {
  const device = await openTestReference();
  const engine = await openEngine(device);
  const expected = await outputsOf(engine, [0, 1, 2, 3]);
  await engine.dispose();
  const narrow = await openEngine(device, { maxLoras: 1 });
  expect(await outputsOf(narrow, [0, 1, 2, 3])).toEqual(expected);
  // The same prompt with another adapter, or none, reads nothing that the other has computed.
  const prompt = prompts[3]!;
  const cached = [];
  for (const loraName of ['wide', null, 'wide']) {
    const group = narrow.add(prompt, { temperature: 0, maxTokens: 1 }, { loraRequest: loraName ? { loraName } : null });
    await drain(narrow);
    cached.push(group.numCachedTokens);
  }
  expect(cached).toEqual([0, 0, 28]);
  await narrow.dispose();
});

/** Devices that work in groups. */
const groupDevices = endToEndDevices().filter(name => name !== 'webgpu');

async function openGroup(name: TestDeviceName, sizes: Parameters<typeof openReferenceGroup>[0]): Promise<Device> {
  return name === 'reference' ? openReferenceGroup(sizes) : (await openTestCudaEmuGroup(sizes)).group;
}

describe.each(groupDevices)('ranks that divide the model and its adapters, on %s,', name => {
  beforeAll(build);

  it.each([
    { tensorParallelSize: 2 },
    { tensorParallelSize: 4 },
    { pipelineParallelSize: 2 },
    { tensorParallelSize: 2, pipelineParallelSize: 2 },
  ])('%j give the tokens of one, each adapter in its turn', async sizes => {
    const alone = await openEngine(await openTestReference());
    const expected = await outputsOf(alone, [0, 1, 2, 3]);
    await alone.dispose();
    const group = await openGroup(name, sizes);
    // One slot, so that an adapter takes the place of another.
    const engine = await openEngine(group, { maxLoras: 1 });
    const found = await outputsOf(engine, [0, 1, 2, 3]);
    expect(found.map(({ ids }) => ids)).toEqual(expected.map(({ ids }) => ids));
    await engine.dispose();
    await group.synchronize();
    expect(group.allocatedBytes()).toBe(0);
    await group.dispose();
  });

  it.each([
    ['qwen2-tied', 'wide'],
    ['phi3-short', 'fused'],
  ])('give the logits of the oracle: %s with %s', async (model, adapter) => {
    const { tokenIds, logits } = expectedOf(model, adapter);
    const { source, ...opened } = await openModel(`${models}/${model}`);
    const weights = await load(model, adapter, { ranks: 2 });
    const group = await openGroup(name, { tensorParallelSize: 2 });
    const options = { device: group, ...opened, maxTokens: tokenIds.length, adapter: { weights, maxRank: MAX_RANK } };
    const runner = await openDebugRunner(options).finally(() => source.close());
    expect(relativeL2(await runner.forwardLogits(tokenIds), logits.flat())).toBeLessThan(1e-5);
    runner.dispose();
    await group.dispose();
  });
});

it('leaves the model alone as it is without room for adapters', async () => {
  const device = await openTestReference();
  const [plain, roomy] = [await openEngine(device), await openEngine(device, { maxLoras: 4, maxLoraRank: 32 })];
  expect(await outputsOf(roomy, [0, 1, 2])).toEqual(await outputsOf(plain, [0, 1, 2]));
  await plain.dispose();
  await roomy.dispose();
  expect(device.allocatedBytes()).toBe(0);
});

it('sleeps, and brings adapters back when it wakes', async () => {
  const engine = await openEngine(await openTestReference());
  const before = await outputsOf(engine, [1, 2]);
  await engine.sleep();
  await engine.wakeUp();
  expect(await outputsOf(engine, [1, 2])).toEqual(before);
  await engine.dispose();
});
