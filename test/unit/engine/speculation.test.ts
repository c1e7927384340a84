import type { SamplingParams } from '@quire/core';
import { openReferenceDevice } from '@quire/core/reference';
import { describe, expect, test } from 'vitest';
import { openTestDevice, requiredDevices } from '../../support/devices.ts';
import { tinyEngine } from '../../support/tiny-engine.ts';
import { drain, expectedOutput, prompt, type TestEngineOptions, testEngine, tokensOf } from './helpers.ts';

const oracle = { maxModelLen: 64, vocabSize: 32 };
const repetitive: SamplingParams = { temperature: 0.8, topK: 2, seed: 3, ignoreEos: true, maxTokens: 30 };

function speculating(numSpeculativeTokens: number, options: TestEngineOptions = {}): TestEngineOptions {
  const speculativeConfig = { method: 'ngram', numSpeculativeTokens, promptLookupMax: 3, promptLookupMin: 1 } as const;
  return { ...options, config: { ...options.config, speculativeConfig } };
}

function expected(length: number, params: SamplingParams): number[] {
  return expectedOutput(prompt(length), params, BigInt(params.seed as number), oracle).tokenIds;
}

describe('speculation by prompt lookup', () => {
  test('gives the tokens of plain decoding in fewer steps', async () => {
    const forced = { ...repetitive, topK: 1 };
    const { engine, executor } = testEngine(speculating(4, { limits: { maxNumSeqs: 8 } }));
    const group = engine.add(prompt(6), forced);
    await drain(engine);
    expect(tokensOf(group)).toEqual(expected(6, forced));
    expect(executor.steps).toBeLessThan(12);
    const { draftTokens, acceptedTokens, numDrafts, acceptedPerPosition } = engine.stats();
    expect(acceptedTokens).toBeGreaterThan(18);
    expect(draftTokens).toBeGreaterThanOrEqual(acceptedTokens);
    expect(acceptedPerPosition.reduce((sum, count) => sum + count, 0)).toBe(acceptedTokens);
    expect(acceptedPerPosition[0]).toBeLessThanOrEqual(numDrafts);
    expect([...acceptedPerPosition].sort((a, b) => b - a)).toEqual(acceptedPerPosition);
  });

  test('keeps what holds and drops what does not, with log-probabilities and stop ids', async () => {
    const { engine } = testEngine(speculating(3));
    const params = { ...repetitive, logprobs: 1 };
    const group = engine.add(prompt(6), params);
    const stopped = engine.add(prompt(6), { ...repetitive, topK: 3, stopTokenIds: [2], minTokens: 9 });
    await drain(engine);
    expect(tokensOf(group)).toEqual(expected(6, params));
    expect(group.sequences[0]!.logprobs!.map(({ tokenId }) => tokenId)).toEqual(tokensOf(group));
    expect(tokensOf(stopped)).toEqual(expected(6, { ...repetitive, topK: 3, stopTokenIds: [2], minTokens: 9 }));
    const { draftTokens, acceptedTokens } = engine.stats();
    expect(acceptedTokens).toBeGreaterThan(0);
    expect(acceptedTokens).toBeLessThan(draftTokens);
  });

  test('takes no row and no block from who waits', async () => {
    const { engine, executor } = testEngine(speculating(4, { limits: { maxNumSeqs: 2 } }));
    const groups = [0, 1, 2, 3].map(() => engine.add(prompt(6), repetitive));
    await engine.step();
    expect(executor.limits.maxNumSeqs).toBe(2);
    await drain(engine);
    for (const group of groups) expect(tokensOf(group)).toEqual(expected(6, repetitive));
    const short = testEngine(speculating(4, { limits: { numBlocks: 10 } }));
    const tight = short.engine.add(prompt(6), repetitive);
    await drain(short.engine);
    expect(tokensOf(tight)).toEqual(expected(6, repetitive));
  });

  test.each(requiredDevices())('is bit for bit plain decoding on %s', async name => {
    const device = await openTestDevice(name);
    const speculativeConfig = {
      method: 'ngram',
      num_speculative_tokens: 3,
      prompt_lookup_max: 2,
      prompt_lookup_min: 1,
    };
    const run = async (options: Record<string, unknown>) => {
      const engine = await tinyEngine(device, { maxNumSeqs: 16, ...options });
      const repeated = [...prompt(5), ...prompt(5), ...prompt(5)];
      const groups = [
        engine.add(repeated, { temperature: 0, maxTokens: 20, ignoreEos: true, logprobs: 2 }),
        engine.add(repeated.slice(2), { temperature: 0.7, topK: 3, seed: 1, maxTokens: 20, ignoreEos: true }),
        engine.add(repeated, { temperature: 0, maxTokens: 12, ignoreEos: true, frequencyPenalty: 0.5 }),
      ];
      await drain(engine);
      const outputs = groups.map(group => [tokensOf(group), group.sequences[0]!.logprobs]);
      const stats = engine.stats();
      await engine.dispose();
      return { outputs, stats };
    };
    const plain = await run({});
    const speculated = await run({ speculativeConfig });
    expect(speculated.outputs).toEqual(plain.outputs);
    expect(speculated.stats.acceptedTokens).toBeGreaterThan(5);
    expect(speculated.stats.acceptedTokens).toBeLessThan(speculated.stats.draftTokens);
  });
});

test('requests that the host steers in another way do not speculate', async () => {
  const device = await openReferenceDevice();
  const engine = await tinyEngine(device, {
    speculativeConfig: { method: 'ngram', num_speculative_tokens: 3, prompt_lookup_min: 1 },
  });
  engine.add([...prompt(5), ...prompt(5)], { temperature: 0, maxTokens: 8, allowedTokenIds: [1, 2, 3] });
  engine.add([...prompt(5), ...prompt(5)], { useBeamSearch: true, n: 2, maxTokens: 8 });
  await drain(engine);
  expect(engine.stats().draftTokens).toBe(0);
  await engine.dispose();
});
