/** Speculation with a draft model on real devices: the tokens and log-probabilities of plain decoding, bit for bit. */
import { ConfigError, type DraftSupply, type ModelConfig } from '@quire/core';
import { openReferenceDevice } from '@quire/core/reference';
import { describe, expect, test } from 'vitest';
import { openTestDevice, openTestReference, requiredDevices } from '../../support/devices.ts';
import { tinyCheckpoint, tinyEngine, tinyModel, tinyRunner } from '../../support/tiny-engine.ts';
import { llamaConfig } from '../models/configs.ts';
import { drain, prompt, tokensOf } from './helpers.ts';

type Engine = Awaited<ReturnType<typeof tinyEngine>>;

const DRAFTS = 3;
const speculativeConfig = { model: 'smaller', num_speculative_tokens: DRAFTS };
const common = { maxNumSeqs: 16, speculativeConfig };

function draft(modelConfig: ModelConfig = tinyModel): DraftSupply {
  return { modelConfig, checkpoint: tinyCheckpoint(modelConfig), numSpeculativeTokens: DRAFTS };
}

/** One layer instead of two. */
const shallow = { ...tinyModel, numLayers: 1 };

/** Greedy, sampled, penalised; the last one has the prompt of the first. */
function add(engine: Engine) {
  const params = { maxTokens: 13, ignoreEos: true };
  return [
    engine.add(prompt(18), { ...params, temperature: 0, logprobs: 2 }),
    engine.add(prompt(7, 3), { ...params, temperature: 0.7, topK: 9, seed: 1 }),
    engine.add(prompt(11, 8), { ...params, temperature: 0, frequencyPenalty: 0.5, repetitionPenalty: 1.3 }),
    engine.add(prompt(18), { ...params, temperature: 1, seed: 5 }),
  ];
}

async function outputs(engine: Engine) {
  const groups = add(engine);
  await drain(engine);
  const found = groups.map(group => [tokensOf(group), group.sequences[0]!.logprobs]);
  const stats = engine.stats();
  await engine.dispose();
  return { found, stats };
}

test.each(requiredDevices())(
  'on %s, a draft model changes nothing, in chunks and with prefix hits',
  async name => {
    const device = await openTestDevice(name);
    const options = { maxNumBatchedTokens: 16 };
    const plain = await outputs(await tinyEngine(device, { ...options, maxNumSeqs: 16 }));
    const guessed = await outputs(await tinyEngine(device, { ...common, ...options, draft: draft() }));
    expect(guessed.found).toEqual(plain.found);
    const { draftTokens, acceptedTokens, numSteps } = guessed.stats;
    // The model itself is right, until the end of a request cuts off what it guessed.
    expect(draftTokens - acceptedTokens).toBeLessThanOrEqual(4 * DRAFTS);
    expect(acceptedTokens).toBeGreaterThan(30);
    expect(numSteps).toBeLessThan(plain.stats.numSteps * 0.75);
    const wrong = await outputs(await tinyEngine(device, { ...common, ...options, draft: draft(shallow) }));
    expect(wrong.found).toEqual(plain.found);
    expect(wrong.stats.draftTokens).toBeGreaterThan(30);
    expect(wrong.stats.acceptedTokens).toBeLessThan(wrong.stats.draftTokens / 2);
  },
  120_000,
);

test('a draft model changes nothing where requests are preempted', async () => {
  const device = await openTestReference();
  const options = { numGpuBlocksOverride: 16, maxModelLen: 64 };
  const plain = await outputs(await tinyEngine(device, { ...options, maxNumSeqs: 16 }));
  const guessed = await outputs(await tinyEngine(device, { ...common, ...options, draft: draft() }));
  expect(guessed.found).toEqual(plain.found);
  expect(guessed.stats.numPreemptions).toBeGreaterThan(0);
  expect(guessed.stats.acceptedTokens).toBeGreaterThan(0);
});

test('a lost device takes both models, and both are loaded again', async () => {
  const plain = await outputs(await tinyEngine(await openTestReference()));
  const devices = [await openReferenceDevice()];
  const options = { ...common, draft: draft() };
  const reopen = async () => {
    devices.push(await openReferenceDevice());
    return tinyRunner(devices.at(-1)!, options);
  };
  const engine = await tinyEngine(devices[0]!, options, { reopen });
  const groups = add(engine);
  for (let step = 1; engine.hasUnfinished; step++) {
    if (step % 4 === 0) (devices.at(-1) as { loseForTest?: (reason: string) => void }).loseForTest!('on purpose');
    await engine.step();
  }
  expect(groups.map(group => tokensOf(group))).toEqual(plain.found.map(([tokens]) => tokens));
  expect(engine.stats().numRecoveries).toBeGreaterThan(1);
  expect(engine.stats().acceptedTokens).toBeGreaterThan(0);
  await engine.dispose();
  for (const device of devices) expect(device.allocatedBytes()).toBe(0);
});

describe('the memory of a draft model', () => {
  test('comes from the budget of the cache, which holds as many tokens of either', async () => {
    const device = await openTestReference();
    const budget = 300_000;
    const options = { numGpuBlocksOverride: null, kvCacheMemoryBytes: budget, maxModelLen: 64 };
    const alone = await tinyRunner(device, options);
    const beside = await tinyRunner(device, { ...options, draft: draft(shallow) });
    const own = beside.draft!;
    expect(own.limits.numBlocks).toBe(beside.limits.numBlocks);
    const perBlock = own.limits.blockBytes + beside.limits.blockBytes;
    expect(own.limits.blockBytes * 2).toBe(beside.limits.blockBytes);
    expect(beside.limits.numBlocks * perBlock).toBeLessThanOrEqual(budget);
    expect((beside.limits.numBlocks + 1) * perBlock).toBeGreaterThan(budget);
    expect(beside.limits.numBlocks).toBeLessThan(alone.limits.numBlocks * 0.7);
    await alone.dispose();
    await beside.dispose();
    expect(device.allocatedBytes()).toBe(0);
  });

  test('sleeps with the model, and its weights stay', async () => {
    const device = await openTestReference();
    const engine = await tinyEngine(device, { ...common, draft: draft() });
    const [awake, weights] = [device.allocatedBytes(), bytesOf(tinyModel)];
    await engine.sleep();
    expect(device.allocatedBytes()).toBeLessThan(awake / 2);
    expect(device.allocatedBytes()).toBeGreaterThanOrEqual(2 * weights);
    await engine.wakeUp();
    expect(device.allocatedBytes()).toBe(awake);
    const { stats } = await outputs(engine);
    expect(stats.acceptedTokens).toBeGreaterThan(0);
    expect(device.allocatedBytes()).toBe(0);
  });

  test.each([
    [{ ...tinyModel, vocabSize: 95 }, 'its vocabulary has 95 tokens, that of the model 96.'],
    [
      llamaConfig({ ...tinyModel, pooling: { type: 'last', normalize: true, dimensions: null } }),
      'it makes embeddings',
    ],
  ])('what cannot guess is refused, and nothing stays allocated', async (modelConfig, problem) => {
    const device = await openTestReference();
    const error = await tinyRunner(device, { draft: draft(modelConfig) }).catch(reason => reason);
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.option).toBe('speculativeConfig');
    expect(error.message).toContain(`speculativeConfig: the draft model: ${problem}`);
    expect(device.allocatedBytes()).toBe(0);
  });

  test('a model without room beside its draft model frees both', async () => {
    const device = await openTestReference();
    const options = { numGpuBlocksOverride: null, kvCacheMemoryBytes: 30_000, maxModelLen: 64 };
    await expect(tinyRunner(device, { ...options, draft: draft() })).rejects.toThrow(/A request of 64 tokens needs/);
    expect(device.allocatedBytes()).toBe(0);
  });
});

function bytesOf(model: ModelConfig): number {
  return [...tinyCheckpoint(model).tensors.values()].reduce((sum, { start, end }) => sum + end - start, 0);
}
