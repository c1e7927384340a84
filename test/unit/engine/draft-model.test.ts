import type { SamplingParams, SchedulerOutput } from '@quire/core';
import { DeviceLostError } from '@quire/core/contract';
import { describe, expect, test } from 'vitest';
import type { DraftModel } from '../../../packages/core/src/engine/draft-model.ts';
import type { DraftModelConfig } from '../../../packages/core/src/engine/speculative-config.ts';
import { type SymbolicExecutor, type SymbolicOptions, symbolicLimits } from '../../support/symbolic-executor.ts';
import { NAN_TOKEN } from '../../support/symbolic-model.ts';
import { drain, expectedOutput, prompt, type TestEngineOptions, testEngine, tokensOf } from './helpers.ts';

const DRAFTS = 3;
const oracle = { maxModelLen: 64, vocabSize: 32 };
const sampled: SamplingParams = { temperature: 0.8, seed: 3, ignoreEos: true, maxTokens: 17 };

interface Drafting extends TestEngineOptions {
  draft?: Partial<Omit<SymbolicOptions, 'limits'>> & { limits?: Partial<typeof symbolicLimits> };
}

/** An engine whose draft model is the model itself, unless `draft.model` says otherwise. */
function drafting({ draft = {}, ...options }: Drafting = {}) {
  const speculativeConfig: DraftModelConfig = {
    method: 'draft_model',
    model: 'smaller',
    numSpeculativeTokens: DRAFTS,
    revision: null,
    draftTensorParallelSize: null,
  };
  const limits = { ...symbolicLimits, maxNumSeqs: 8, ...options.limits };
  const { engine } = testEngine({
    ...options,
    limits,
    config: { ...options.config, speculativeConfig },
    executor: { ...options.executor, draft: { ...draft, limits: { ...limits, numHostBlocks: 0, ...draft.limits } } },
  });
  return {
    engine,
    target: () => engine.host.executor as SymbolicExecutor,
    draft: () => (engine.host.executor as SymbolicExecutor).draft!,
    blocks: () => (engine.scheduler.speculator as DraftModel).blocks,
  };
}

function expected(length: number, params: SamplingParams = sampled): number[] {
  return expectedOutput(prompt(length), params, BigInt(params.seed as number), oracle).tokenIds;
}

function expectNothingHeld({ engine, blocks }: ReturnType<typeof drafting>): void {
  expect(engine.scheduler.numFreeRows).toBe(engine.limits.maxNumSeqs);
  expect(blocks().numFreeBlocks).toBe(blocks().numBlocks - 1);
}

describe('speculation with a draft model', () => {
  test.each([0, 0.8])(
    'gives the tokens of plain decoding, at temperature %d, in a quarter of the steps',
    async temperature => {
      const params = { ...sampled, temperature };
      const drafted = drafting();
      const group = drafted.engine.add(prompt(6), params);
      await drain(drafted.engine);
      expect(tokensOf(group)).toEqual(expected(6, params));
      // The prompt gives the first token, four steps four each.
      expect(drafted.target().steps).toBe(5);
      const { draftTokens, acceptedTokens, numDrafts, acceptedPerPosition } = drafted.engine.stats();
      expect({ draftTokens, acceptedTokens, numDrafts, acceptedPerPosition }).toEqual({
        draftTokens: 12,
        acceptedTokens: 12,
        numDrafts: 4,
        acceptedPerPosition: [4, 4, 4],
      });
      // Each time it guesses, and before that computes what it lacks: the prompt, then its own last guess.
      expect(drafted.draft().submits).toBe(8);
      expect(drafted.draft().tokensComputed).toBe(6 + 4 * DRAFTS + 3);
      expectNothingHeld(drafted);
    },
  );

  test('keeps what holds of a model that is mostly wrong, with log-probabilities and stop ids', async () => {
    const drafted = drafting({ draft: { model: 1 } });
    const params = { ...sampled, topK: 2, logprobs: 1 };
    const stopping = { ...sampled, topK: 3, stopTokenIds: [2], minTokens: 9 };
    const [group, stopped] = [drafted.engine.add(prompt(6), params), drafted.engine.add(prompt(6), stopping)];
    await drain(drafted.engine);
    expect(tokensOf(group)).toEqual(expected(6, params));
    expect(group.sequences[0]!.logprobs!.map(({ tokenId }) => tokenId)).toEqual(tokensOf(group));
    expect(tokensOf(stopped)).toEqual(expected(6, stopping));
    const { draftTokens, acceptedTokens } = drafted.engine.stats();
    expect(acceptedTokens).toBeGreaterThan(0);
    expect(acceptedTokens).toBeLessThan(draftTokens / 1.5);
  });

  test('catches up where the target had cached, forked or swapped what the draft model has not', async () => {
    const drafted = drafting({ limits: { maxNumSeqs: 16, numHostBlocks: 20, numBlocks: 20 } });
    const { engine } = drafted;
    const long = prompt(21);
    const first = engine.add(long, sampled);
    await drain(engine);
    engine.scheduler.speculator!.resetPrefixCache!();
    const before = drafted.draft().tokensComputed;
    const again = engine.add(long, { ...sampled, n: 2 });
    await drain(engine);
    expect(again.numCachedTokens).toBeGreaterThanOrEqual(20);
    expect(drafted.draft().tokensComputed - before).toBeGreaterThan(21);
    expect(tokensOf(again)).toEqual(tokensOf(first));
    expect(tokensOf(again)).toEqual(expected(21));
    const { acceptedTokens, draftTokens } = engine.stats();
    expect(acceptedTokens).toBe(draftTokens);
    expectNothingHeld(drafted);
  });

  test('finds its own cached prefixes, of the same salt alone', async () => {
    const computed = async (cacheSalt: string | null) => {
      const drafted = drafting();
      drafted.engine.add(prompt(21), sampled);
      await drain(drafted.engine);
      const before = drafted.draft().tokensComputed;
      drafted.engine.add(prompt(21), { ...sampled, cacheSalt });
      await drain(drafted.engine);
      return drafted.draft().tokensComputed - before;
    };
    expect((await computed('theirs')) - (await computed(null))).toBe(20);
  });

  test('computes a prompt longer than one step in several, and guesses when it is there', async () => {
    const drafted = drafting({ draft: { limits: { maxNumBatchedTokens: 8 } } });
    const { engine } = drafted;
    const group = engine.add(prompt(30), sampled);
    const draftsAfter: number[] = [];
    while (engine.hasUnfinished) {
      await engine.step();
      draftsAfter.push(engine.stats().numDrafts);
    }
    // Two steps of prompt, then 8 tokens of it each time, while the request goes on token by token.
    expect(draftsAfter.slice(0, 7)).toEqual([0, 0, 0, 0, 0, 0, 1]);
    expect(tokensOf(group)).toEqual(expected(30));
    expect(engine.stats().acceptedTokens).toBe(engine.stats().draftTokens);
  });

  test('under preemption, with too few blocks of its own, and past its longest request, no token changes', async () => {
    for (const draft of [
      {},
      { limits: { numBlocks: 8 } },
      { limits: { maxModelLen: 20 } },
      { limits: { maxNumSeqs: 1 } },
    ]) {
      const drafted = drafting({ limits: { numBlocks: 18 }, draft });
      const lengths = [9, 11, 6, 13, 7];
      const groups = lengths.map(length => drafted.engine.add(prompt(length), { ...sampled, maxTokens: 24 }));
      await drain(drafted.engine);
      for (const [i, group] of groups.entries()) {
        expect(tokensOf(group)).toEqual(expected(lengths[i]!, { ...sampled, maxTokens: 24 }));
      }
      const { numPreemptions, acceptedTokens } = drafted.engine.stats();
      expect(numPreemptions).toBeGreaterThan(0);
      expect(acceptedTokens).toBeGreaterThan(0);
      expectNothingHeld(drafted);
    }
  });

  test('takes no row from who waits, and makes no draft that no row is left to check', async () => {
    const guessing: number[] = [];
    const fault = ({ numDecodeSequences }: SchedulerOutput) => {
      if (engine.scheduler.running.length === 3 && numDecodeSequences > 0) guessing.push(numDecodeSequences);
      return null;
    };
    const { engine } = drafting({ limits: { maxNumSeqs: 4 }, draft: { fault } });
    const groups = [0, 1, 2].map(() => engine.add(prompt(6), sampled));
    await drain(engine);
    for (const group of groups) expect(tokensOf(group)).toEqual(expected(6));
    // One row is left for three requests.
    expect(guessing.length).toBeGreaterThan(0);
    expect(Math.max(...guessing)).toBe(1);
    const full = drafting({ limits: { maxNumSeqs: 2 } });
    for (const _ of groups) full.engine.add(prompt(6), sampled);
    while (full.engine.scheduler.waiting.length > 0) await full.engine.step();
    expect(full.draft().submits).toBe(0);
    await drain(full.engine);
    expect(full.draft().submits).toBeGreaterThan(0);
  });

  test('a request that ends while drafts are made leaves nothing behind', async () => {
    const gates: (() => void)[] = [];
    const deliver = <T>(result: T) => new Promise<T>(resolve => gates.push(() => resolve(result)));
    const drafted = drafting({ draft: { deliver } });
    const { engine } = drafted;
    const [ends, stays] = [engine.add(prompt(6), sampled), engine.add(prompt(9), sampled)];
    await engine.step();
    const step = engine.step();
    await Promise.resolve();
    engine.abort(ends);
    const late = engine.add(prompt(7), sampled);
    for (let turn = 0; engine.hasUnfinished || turn < 8; turn++) {
      for (const open of gates.splice(0)) open();
      await Promise.race([step, new Promise(resolve => setImmediate(resolve))]);
      if (turn === 4) void drain(engine);
    }
    expect(tokensOf(stays)).toEqual(expected(9));
    expect(tokensOf(late)).toEqual(expected(7));
    expectNothingHeld(drafted);
  });

  test.each(['lost', 'error'])('a draft step that fails (%s) costs nobody a token', async kind => {
    let submits = 0;
    const error = () => (kind === 'lost' ? new DeviceLostError('gone') : new Error('failed'));
    const drafted = drafting({ draft: { fault: () => (++submits % 5 === 0 && submits < 20 ? error() : null) } });
    const groups = [6, 9].map(length => drafted.engine.add(prompt(length), sampled));
    await drain(drafted.engine);
    expect(groups.map(group => tokensOf(group))).toEqual([expected(6), expected(9)]);
    expect(drafted.engine.stats().numRecoveries).toBe(3);
    expectNothingHeld(drafted);
  });

  test('what is not finite is no draft, and its blocks are cleared', async () => {
    const drafted = drafting();
    const broken = drafted.engine.add([1, NAN_TOKEN, 4, 5, 6], sampled);
    await drain(drafted.engine);
    expect(broken.error?.message).toMatch(/not finite/);
    const after = drafted.engine.add(prompt(6), sampled);
    await drain(drafted.engine);
    expect(tokensOf(after)).toEqual(expected(6));
    expect(drafted.engine.stats().acceptedTokens).toBe(drafted.engine.stats().draftTokens);
  });

  test('sleeps with the engine', async () => {
    const drafted = drafting();
    const { engine } = drafted;
    const group = engine.add(prompt(6), sampled);
    await engine.step();
    await engine.step();
    const step = engine.step();
    await engine.sleep();
    await engine.wakeUp();
    await step;
    await drain(engine);
    expect(tokensOf(group)).toEqual(expected(6));
  });

  test('makes no drafts for who is steered by the host in another way', async () => {
    const { engine } = drafting();
    engine.add(prompt(6), { ...sampled, allowedTokenIds: [1, 2, 3] });
    engine.add(prompt(6), { useBeamSearch: true, n: 2, maxTokens: 8 });
    await drain(engine);
    expect(engine.stats().numDrafts).toBe(0);
  });
});
