import { InvalidRequestError, openDebugRunner, type SamplingParams } from '@quire/core';
import { openReferenceDevice } from '@quire/core/reference';
import { describe, expect, test } from 'vitest';
import { beamOracle } from '../../support/beam-oracle.ts';
import { tinyCheckpoint, tinyEngine, tinyModel } from '../../support/tiny-engine.ts';
import { symbolicBeams } from './beams.ts';
import { drain, prompt, type TestEngineOptions, testEngine, tokensOf } from './helpers.ts';

const VOCAB = 29;
const limits = { vocabSize: VOCAB, numBlocks: 65, maxNumSeqs: 8, maxNumBatchedTokens: 64 };

async function search(params: SamplingParams, options: TestEngineOptions = {}) {
  const { engine, executor } = testEngine({ ...options, limits: { ...limits, ...options.limits } });
  const group = engine.add(prompt(10), { ...params, useBeamSearch: true });
  await drain(engine);
  const expected = await symbolicBeams(prompt(10), group.params, VOCAB);
  const found = group.sequences.map(({ cumulativeLogprob, finishReason }, i) => ({
    tokenIds: tokensOf(group, i),
    cumulativeLogprob,
    finishReason,
  }));
  return { engine, executor, group, found, expected };
}

describe('beam search', () => {
  const stops = { stopTokenIds: [1, 4, 9] };
  test.each<[string, SamplingParams]>([
    ['two beams', { n: 2, maxTokens: 12 }],
    ['four beams, two returned', { n: 2, bestOf: 4, maxTokens: 20 }],
    ['stop ids', { n: 3, bestOf: 3, maxTokens: 24, ...stops }],
    ['early stopping', { n: 3, maxTokens: 24, earlyStopping: true, ...stops }],
    ['never before none can improve', { n: 3, maxTokens: 24, earlyStopping: 'never', ...stops }],
    ['a penalty on length', { n: 3, maxTokens: 24, lengthPenalty: -2, ...stops }],
    ['no regard to length', { n: 3, maxTokens: 24, lengthPenalty: 0, earlyStopping: 'never', ...stops }],
    ['one token', { n: 4, maxTokens: 1 }],
  ])('finds what a search over plain lists finds: %s', async (_, params) => {
    const { found, expected } = await search(params);
    expect(found).toEqual(expected);
  });

  test('min_tokens masks what would end a beam', async () => {
    const params = { n: 2, maxTokens: 12, minTokens: 6, ...stops };
    const { found, expected } = await search(params);
    expect(found).toEqual(expected);
    for (const { tokenIds } of found)
      expect(tokenIds.slice(0, 6).some(id => stops.stopTokenIds.includes(id))).toBe(false);
  });

  test.each([true, false])('forks blocks and computes each token once (prefix cache %s)', async enablePrefixCaching => {
    const { executor, engine } = await search({ n: 4, maxTokens: 20 }, { config: { enablePrefixCaching } });
    // One prompt, and every step but the last computes one token of each of four beams.
    expect(executor.tokensComputed).toBe(10 + 4 * 19);
    expect(executor.blocksCopied).toBeGreaterThan(0);
    expect(engine.scheduler.blocks.numFreeBlocks).toBe(64);
  });

  test.each<[string, TestEngineOptions]>([
    ['rows for two of four beams', { limits: { maxNumSeqs: 2 } }],
    ['blocks for less than all', { limits: { numBlocks: 12 }, config: { enablePrefixCaching: false } }],
    ['one sample per step', { limits: { maxSamples: 1 } }],
    ['chunks of three tokens', { limits: { maxNumBatchedTokens: 3 } }],
  ])('finds the same with %s', async (_, options) => {
    const params = { n: 4, maxTokens: 20, ...stops };
    const { found, expected } = await search(params, options);
    expect(found).toEqual(expected);
  });

  test('log-probabilities are those of the chosen tokens', async () => {
    const { group } = await search({ n: 2, maxTokens: 8, logprobs: 2 });
    for (const sequence of group.sequences) {
      expect(sequence.logprobs!.map(({ tokenId }) => tokenId)).toEqual(sequence.request.outputTokens());
      const total = sequence.logprobs!.reduce((sum, { logprob }) => sum + logprob, 0);
      expect(sequence.cumulativeLogprob).toBeCloseTo(total);
      expect(sequence.logprobs!.every(({ top }) => top.length === 2)).toBe(true);
    }
  });

  test('neighbours run ahead meanwhile', async () => {
    const { engine, executor } = testEngine({ limits, config: { runAhead: 2 } });
    engine.add(prompt(10), { n: 2, useBeamSearch: true, maxTokens: 10 });
    engine.add(prompt(8, 3), { temperature: 0, maxTokens: 20, ignoreEos: true });
    await drain(engine);
    // Twenty steps and no more: the beams take part in every second submit.
    expect(executor.submits).toBeLessThanOrEqual(22);
  });

  test('an abort returns the beams as they are', async () => {
    const { engine } = testEngine({ limits });
    const group = engine.add(prompt(10), { n: 2, bestOf: 3, useBeamSearch: true, maxTokens: 30 });
    for (let i = 0; i < 12; i++) await engine.step();
    engine.abort(group);
    expect(group.sequences.map(({ finishReason }) => finishReason)).toEqual(['abort', 'abort']);
    expect(tokensOf(group).length).toBeGreaterThan(3);
    expect(engine.scheduler.blocks.numFreeBlocks).toBe(64);
    expect(engine.hasUnfinished).toBe(false);
  });

  test.each<[string, SamplingParams]>([
    ['best_of', { n: 1 }],
    ['temperature', { n: 2, temperature: 0.5 }],
    ['frequency_penalty', { n: 2, frequencyPenalty: 1 }],
    ['logit_bias', { n: 2, logitBias: { 1: 2 } }],
    ['bad_words', { n: 2, badWords: ['x'] }],
  ])('%s that does not go with it is refused', (param, params) => {
    const { engine } = testEngine({ limits });
    const add = () => engine.add(prompt(10), { ...params, useBeamSearch: true });
    expect(add).toThrow(InvalidRequestError);
    expect(add).toThrow(expect.objectContaining({ param }));
  });
});

test('on a device, it finds what a search over the logits of a debug runner finds', async () => {
  const device = await openReferenceDevice();
  const params = { n: 2, bestOf: 3, maxTokens: 7, stopTokenIds: [5, 17, 60, 88] };
  const engine = await tinyEngine(device, { maxNumSeqs: 4 });
  const group = engine.add(prompt(9), { ...params, useBeamSearch: true });
  const neighbour = engine.add(prompt(12, 5), { temperature: 0, maxTokens: 9, ignoreEos: true });
  await drain(engine);
  await engine.dispose();

  const debug = await openDebugRunner({ device, modelConfig: tinyModel, checkpoint: tinyCheckpoint(), maxTokens: 32 });
  const next = async (tokens: readonly number[]) => {
    const logits = Array.from((await debug.forwardLogits(tokens)).subarray(-tinyModel.vocabSize));
    const normaliser = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
    return logits
      .map((logit, tokenId) => ({ tokenId, logprob: logit - normaliser }))
      .sort((a, b) => b.logprob - a.logprob)
      .slice(0, 6);
  };
  const found = await beamOracle(prompt(9), next, {
    ...group.params,
    width: 3,
    eos: 2,
    stopTokenIds: params.stopTokenIds,
  });
  expect(group.sequences.map((_, i) => tokensOf(group, i))).toEqual(found.map(({ tokenIds }) => tokenIds));
  group.sequences.forEach(({ cumulativeLogprob, finishReason }, i) => {
    expect(cumulativeLogprob).toBeCloseTo(found[i]!.cumulativeLogprob, 4);
    expect(finishReason).toBe(found[i]!.finishReason);
  });
  const tokens = [...prompt(12, 5)];
  for (let i = 0; i < 9; i++) tokens.push((await next(tokens))[0]!.tokenId);
  expect(tokensOf(neighbour)).toEqual(tokens.slice(12));
  debug.dispose();
  await device.dispose();
});
