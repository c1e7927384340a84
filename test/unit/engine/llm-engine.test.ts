import {
  EngineError,
  type FinishedRequest,
  InvalidRequestError,
  type SamplingParams,
  type StepReport,
} from '@quire/core';
import { describe, expect, test } from 'vitest';
import { NAN_MARKER, NAN_TOKEN } from '../../support/symbolic-model.ts';
import { drain, EOS, expectedOutput, prompt, testEngine, tokensOf } from './helpers.ts';

const greedy: SamplingParams = { temperature: 0, ignoreEos: true };
const oracle = { maxModelLen: 64, vocabSize: 32 };

describe('prefix caching', () => {
  const limits = { numBlocks: 41, blockSize: 16, maxModelLen: 300, maxNumBatchedTokens: 256 };

  test('the second of two requests with a shared prefix of 200 tokens computes only the rest', async () => {
    const { engine, executor } = testEngine({ limits });
    const shared = prompt(200);
    const first = engine.add([...shared, 1, 2, 3], { ...greedy, maxTokens: 4 });
    await drain(engine);
    expect(first.numCachedTokens).toBe(0);
    const before = executor.tokensComputed;
    const second = engine.add([...shared, 4, 5], { ...greedy, maxTokens: 1 });
    await drain(engine);
    expect(second.numCachedTokens).toBe(192);
    expect(executor.tokensComputed - before).toBe(202 - 192);
    expect(engine.stats()).toMatchObject({ prefixCacheQueries: 203 + 202, prefixCacheHits: 192 });
    expect(tokensOf(second)).toEqual(
      expectedOutput([...shared, 4, 5], { ...greedy, maxTokens: 1 }, 0n, oracle).tokenIds,
    );
  });

  test('requests that start in the same step share too', async () => {
    const { engine, executor } = testEngine({ limits: { ...limits, maxNumBatchedTokens: 512 } });
    const groups = [0, 1].map(() => engine.add(prompt(100), { ...greedy, maxTokens: 1 }));
    await drain(engine);
    expect(groups.map(group => group.numCachedTokens)).toEqual([0, 96]);
    expect(executor.tokensComputed).toBe(104);
    expect(tokensOf(groups[1]!)).toEqual(tokensOf(groups[0]!));
  });

  test('a prompt that is cached whole computes its last block again', async () => {
    const { engine, executor } = testEngine({ limits });
    engine.add(prompt(64), { ...greedy, maxTokens: 1 });
    await drain(engine);
    const before = executor.tokensComputed;
    const again = engine.add(prompt(64), { ...greedy, maxTokens: 1 });
    await drain(engine);
    expect([again.numCachedTokens, executor.tokensComputed - before]).toEqual([48, 16]);
  });

  test('output tokens are cached for the next turn', async () => {
    const { engine } = testEngine({ limits });
    const first = engine.add(prompt(20), { ...greedy, maxTokens: 29 });
    await drain(engine);
    const turn = engine.add([...prompt(20), ...tokensOf(first), 5], { ...greedy, maxTokens: 1 });
    await drain(engine);
    expect(turn.numCachedTokens).toBe(48);
  });

  test('prompt log-probabilities do not read the cache, and requests under another salt do not either', async () => {
    const { engine } = testEngine({ limits });
    engine.add(prompt(64), { ...greedy, maxTokens: 1 });
    await drain(engine);
    const scored = engine.add(prompt(64), { ...greedy, maxTokens: 1, promptLogprobs: 1 });
    const salted = engine.add(prompt(64), { ...greedy, maxTokens: 1, cacheSalt: 'other' });
    await drain(engine);
    expect([scored.numCachedTokens, salted.numCachedTokens]).toEqual([0, 0]);
    expect(scored.promptLogprobs!.map(entry => entry?.tokenId)).toEqual([undefined, ...prompt(64).slice(1)]);
  });

  test('can be turned off', async () => {
    const { engine } = testEngine({ limits, config: { enablePrefixCaching: false } });
    for (let i = 0; i < 2; i++) {
      const group = engine.add(prompt(64), { ...greedy, maxTokens: 1 });
      await drain(engine);
      expect(group.numCachedTokens).toBe(0);
    }
    expect(engine.stats().prefixCacheQueries).toBe(0);
  });

  test('a 4-bit hash changes no output', async () => {
    const { engine } = testEngine({ limits, hash: (_, tokens, start) => tokens[start]! & 15 });
    const prompts = [1, 17, 33, 5].map(first => [...prompt(16, 1), ...prompt(20, first)]);
    const groups = [...prompts, ...prompts].map(ids => engine.add(ids, { ...greedy, maxTokens: 6 }));
    await drain(engine);
    for (const [i, group] of groups.entries()) {
      const expected = expectedOutput(prompts[i % 4]!, { ...greedy, maxTokens: 6 }, 0n, oracle);
      expect(tokensOf(group)).toEqual(expected.tokenIds);
    }
  });
});

describe('preemption', () => {
  const limits = { numBlocks: 9, blockSize: 4, maxNumSeqs: 4 };

  test('the newest request gives way, comes back before newer ones, and loses nothing', async () => {
    const { engine } = testEngine({ limits, config: { enablePrefixCaching: false } });
    const order: string[] = [];
    const groups = ['a', 'b', 'c', 'd'].map((requestId, i) =>
      engine.add(prompt(7, i), { ...greedy, maxTokens: 20 }, { requestId }),
    );
    for (let steps = 0; engine.hasUnfinished; steps++) {
      expect(steps).toBeLessThan(1000);
      await engine.step();
      for (const group of groups) if (group.isFinished && !order.includes(group.id)) order.push(group.id);
    }
    expect(engine.stats().numPreemptions).toBeGreaterThan(0);
    expect(order).toEqual(['a', 'b', 'c', 'd']);
    for (const [i, group] of groups.entries()) {
      expect(tokensOf(group)).toEqual(expectedOutput(prompt(7, i), { ...greedy, maxTokens: 20 }, 0n, oracle).tokenIds);
      expect(group.numCachedTokens).toBe(0);
    }
  });

  test('what a request computes again mostly comes from the cache', async () => {
    const { engine, executor } = testEngine({ limits });
    for (let i = 0; i < 4; i++) engine.add(prompt(7, i), { ...greedy, maxTokens: 20 });
    await drain(engine);
    const withCache = executor.tokensComputed;
    const plain = testEngine({ limits, config: { enablePrefixCaching: false } });
    for (let i = 0; i < 4; i++) plain.engine.add(prompt(7, i), { ...greedy, maxTokens: 20 });
    await drain(plain.engine);
    expect(withCache).toBeLessThan(plain.executor.tokensComputed);
  });
});

describe('admission', () => {
  test('a request that can never fit is refused with numbers; one that fits exactly runs', async () => {
    const { engine } = testEngine({ limits: { numBlocks: 5, blockSize: 4, maxModelLen: 64 } });
    expect(() => engine.add(prompt(10), { ...greedy, maxTokens: 8 })).toThrow(
      'The request needs 5 KV blocks (10 prompt tokens, up to 8 output tokens, 4 tokens per block), the cache has 4.',
    );
    expect(() => engine.add(prompt(17), { ...greedy, maxTokens: 1 })).toThrow(
      expect.objectContaining({ param: 'prompt' }),
    );
    expect(engine.hasUnfinished).toBe(false);
    const fits = engine.add(prompt(10), { ...greedy, maxTokens: 7 });
    await drain(engine);
    expect(tokensOf(fits).length).toBe(7);
  });

  test.each([
    [[], 'prompt', /empty/],
    [Array.from({ length: 64 }, () => 1), 'prompt', /has 64 tokens; the context is 64/],
    [[1, 32], 'prompt', /prompt token 1 must be in \[0, 32\), got 32/],
    [[1, -1], 'prompt', /got -1/],
    [[1.5], 'prompt', /got 1.5/],
    ['text', 'prompt', /no tokenizer/],
    [{}, 'prompt', /must be a string/],
    [null, 'prompt', /must be a string/],
  ])('prompt %o is refused', (input, param, message) => {
    const { engine } = testEngine();
    let error: unknown;
    try {
      engine.add(input as never, greedy);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(InvalidRequestError);
    expect((error as InvalidRequestError).param).toBe(param);
    expect((error as Error).message).toMatch(message);
    expect(engine.stats().numRequestsWaiting).toBe(0);
  });

  test('a prompt that is too long has its own code', () => {
    const { engine } = testEngine();
    expect(() => engine.add(prompt(99), greedy)).toThrow(expect.objectContaining({ code: 'context_length_exceeded' }));
  });

  test('without chunked prefill, a step must hold the longest request', () => {
    expect(() => testEngine({ config: { enableChunkedPrefill: false } })).toThrow(
      /maxNumBatchedTokens \(16\) must be at least/,
    );
  });
});

describe('stopping', () => {
  const long = { ...greedy, maxTokens: 40 };
  const tokens = expectedOutput(prompt(5), long, 0n, oracle).tokenIds;

  async function run(params: SamplingParams) {
    const { engine } = testEngine();
    const group = engine.add(prompt(5), { ...long, ...params });
    await drain(engine);
    const { finishReason, stopReason } = group.sequences[0]!;
    return { tokens: tokensOf(group), finishReason, stopReason };
  }

  test('at max_tokens and at the end of the context', async () => {
    expect(await run({ maxTokens: 3 })).toEqual({
      tokens: tokens.slice(0, 3),
      finishReason: 'length',
      stopReason: null,
    });
    expect((await run({ maxTokens: null })).tokens.length).toBe(64 - 5);
  });

  test('at a stop token id, which stays in the output and is the stop reason', async () => {
    const id = tokens[6]!;
    const end = tokens.indexOf(id) + 1;
    expect(await run({ stopTokenIds: [id] })).toEqual({
      tokens: tokens.slice(0, end),
      finishReason: 'stop',
      stopReason: id,
    });
  });

  test('at EOS, unless it is ignored', async () => {
    const { engine } = testEngine();
    const groups = [false, true].map(ignoreEos =>
      engine.add([1], { temperature: 0, maxTokens: 5, ignoreEos, logitBias: { [EOS]: 100 } }),
    );
    await drain(engine);
    expect(groups.map(group => [tokensOf(group), group.sequences[0]!.finishReason])).toEqual([
      [[EOS], 'stop'],
      [[EOS, EOS, EOS, EOS, EOS], 'length'],
    ]);
  });

  test('min_tokens masks stop ids, and cannot outlive the context', async () => {
    const id = tokens[0]!;
    const result = await run({ stopTokenIds: [id], minTokens: 4 });
    expect(result.tokens.length).toBeGreaterThan(4);
    expect(result.tokens.slice(0, 4)).not.toContain(id);
    expect((await run({ minTokens: 10, maxTokens: 10 })).finishReason).toBe('length');
  });

  test('tokens computed past a stop are dropped, with many steps in flight', async () => {
    const { engine, executor } = testEngine({ config: { runAhead: 3, numSchedulerSteps: 5 } });
    const id = tokens[6]!;
    const group = engine.add(prompt(5), { ...long, stopTokenIds: [id] });
    const other = engine.add(prompt(9, 3), { ...long });
    await drain(engine);
    expect(executor.maxTimes).toBe(5);
    expect(tokensOf(group)).toEqual(tokens.slice(0, tokens.indexOf(id) + 1));
    expect(tokensOf(other)).toEqual(expectedOutput(prompt(9, 3), long, 0n, oracle).tokenIds);
    expect(engine.scheduler.blocks.numFreeBlocks).toBe(32);
  });
});

describe('several completions', () => {
  test('share their prompt and differ by seed + index, in index order', async () => {
    const { engine, executor } = testEngine();
    const params = { temperature: 1, seed: 40, n: 3, maxTokens: 5, ignoreEos: true };
    const group = engine.add(prompt(9), params);
    await drain(engine);
    const expected = [0n, 1n, 2n].map(i => expectedOutput(prompt(9), params, 40n + i, oracle).tokenIds);
    expect(group.sequences.map((_, i) => tokensOf(group, i))).toEqual(expected);
    expect(new Set(expected.map(String)).size).toBe(3);
    // One prompt of 9 tokens, its last token twice more, and 4 decode steps each.
    expect(executor.tokensComputed).toBe(9 + 2 + 12);
    expect(group.numCachedTokens).toBe(0);
  });

  test('without a seed they differ, and the engine seed repeats them', async () => {
    const run = async (seed: bigint) => {
      const { engine } = testEngine({ config: { seed } });
      const group = engine.add(prompt(9), { n: 2, maxTokens: 8, ignoreEos: true });
      await drain(engine);
      return [tokensOf(group, 0), tokensOf(group, 1)];
    };
    const [a, b] = await run(1n);
    expect(a).not.toEqual(b);
    expect(await run(1n)).toEqual([a, b]);
    expect(await run(2n)).not.toEqual([a, b]);
  });

  test('only the first scores the prompt', async () => {
    const { engine } = testEngine();
    const group = engine.add(prompt(9), {
      n: 2,
      maxTokens: 2,
      promptLogprobs: 2,
      logprobs: 1,
      seed: 1,
      ignoreEos: true,
    });
    await drain(engine);
    expect(group.promptLogprobs!.length).toBe(9);
    expect(group.sequences.map(sequence => sequence.logprobs!.map(entry => entry.top.length))).toEqual([
      [1, 1],
      [1, 1],
    ]);
  });
});

describe('log-probabilities', () => {
  test('prompt slices respect the budget of samples', async () => {
    const { engine, executor } = testEngine({ limits: { maxSamples: 3 } });
    const group = engine.add(prompt(20), { ...greedy, maxTokens: 2, promptLogprobs: 0, logprobs: 0 });
    await drain(engine);
    expect(group.promptLogprobs!.slice(1).map(entry => entry!.tokenId)).toEqual(prompt(20).slice(1));
    expect(executor.submits).toBeGreaterThanOrEqual(7);
    const { logprobs, cumulativeLogprob } = group.sequences[0]!;
    expect(logprobs!.map(entry => entry.tokenId)).toEqual(tokensOf(group));
    expect(cumulativeLogprob).toBeCloseTo(logprobs!.reduce((sum, entry) => sum + entry.logprob, 0));
  });
});

describe('errors of one request', () => {
  test('logits that are not finite end it alone; its blocks are cleared and not cached', async () => {
    const { engine, executor } = testEngine({ limits: { maxNumBatchedTokens: 64 } });
    const bad = engine.add([...prompt(9), NAN_TOKEN, 1], { ...greedy, maxTokens: 9 });
    const neighbour = engine.add(prompt(11, 4), { ...greedy, maxTokens: 9 });
    await drain(engine);
    expect(bad.sequences[0]!.finishReason).toBe('error');
    expect(bad.error).toBeInstanceOf(EngineError);
    expect(bad.error!.message).toMatch(/not finite/);
    expect(tokensOf(bad)).toEqual([]);
    expect(tokensOf(neighbour)).toEqual(
      expectedOutput(prompt(11, 4), { ...greedy, maxTokens: 9 }, 0n, oracle).tokenIds,
    );
    const { cache } = engine.scheduler.blocks;
    expect(engine.scheduler.blocks.lookup(Uint32Array.from([...prompt(9), NAN_TOKEN, 1]), 10, '').blocks).toEqual([]);
    expect(cache!.size).toBeGreaterThan(0);
    engine.add(prompt(3, 9), { ...greedy, maxTokens: 1 });
    await drain(engine);
    expect(executor.layer1.includes(NAN_MARKER)).toBe(false);
    expect(executor.layer2.includes(NAN_MARKER)).toBe(false);
    expect(engine.stats().finished).toEqual({ stop: 0, length: 2, abort: 0, error: 1 });
  });

  test('so do prompt log-probabilities that are not finite', async () => {
    const { engine } = testEngine();
    const bad = engine.add([1, NAN_TOKEN, ...prompt(20)], { ...greedy, promptLogprobs: 0 });
    await drain(engine);
    expect(bad.sequences[0]!.finishReason).toBe('error');
  });
});

describe('abort', () => {
  test('frees everything at once, wherever the request is, and twice is once', async () => {
    const { engine } = testEngine({ limits: { maxNumSeqs: 1 } });
    const running = engine.add(prompt(30), greedy, { requestId: 'x' });
    const waiting = engine.add(prompt(30), greedy, { requestId: 'y' });
    await engine.step();
    expect(engine.stats()).toMatchObject({ numRequestsRunning: 1, numRequestsWaiting: 1 });
    engine.abortById('y');
    engine.abort(running);
    engine.abort(running);
    engine.abortById('nobody');
    expect([running, waiting].map(group => group.sequences[0]!.finishReason)).toEqual(['abort', 'abort']);
    expect(engine.scheduler.blocks.numFreeBlocks).toBe(32);
    expect(engine.hasUnfinished).toBe(false);
    await engine.step();
    expect(engine.stats().finished.abort).toBe(2);
    expect(tokensOf(running).length).toBe(0);
  });

  test('equal request ids are labels: both run', async () => {
    const { engine } = testEngine();
    const groups = [1, 2].map(first =>
      engine.add(prompt(5, first), { ...greedy, maxTokens: 3 }, { requestId: 'same' }),
    );
    await drain(engine);
    expect(groups.map(group => tokensOf(group).length)).toEqual([3, 3]);
  });
});

describe('steps', () => {
  test('prompts share the budget of a step; without chunked prefill none is cut', async () => {
    const promptTokens = async (enableChunkedPrefill: boolean) => {
      const steps: number[] = [];
      const observer = { onStep: (report: StepReport) => steps.push(report.numPromptTokens) };
      const { engine } = testEngine({
        limits: { maxNumBatchedTokens: 64 },
        config: { enableChunkedPrefill },
        observer,
      });
      for (let i = 0; i < 2; i++) engine.add(prompt(40, i), { ...greedy, maxTokens: 3 });
      await drain(engine);
      return steps.filter(tokens => tokens > 0);
    };
    expect(await promptTokens(true)).toEqual([64, 16]);
    expect(await promptTokens(false)).toEqual([40, 40]);
  });

  test('a decode batch repeats on the device only while nobody waits or looks', async () => {
    const plain = testEngine();
    plain.engine.add(prompt(5), { ...greedy, maxTokens: 30 });
    await drain(plain.engine);
    expect(plain.executor.maxTimes).toBe(4);
    expect(plain.executor.submits).toBeLessThan(12);

    const watched = testEngine();
    watched.engine.add(prompt(5), { ...greedy, maxTokens: 30, logprobs: 0 });
    await drain(watched.engine);
    expect(watched.executor.maxTimes).toBe(1);

    const queued = testEngine({ limits: { maxNumSeqs: 1 } });
    queued.engine.add(prompt(5), { ...greedy, maxTokens: 8 });
    queued.engine.add(prompt(5), { ...greedy, maxTokens: 1 });
    await drain(queued.engine);
    expect(queued.executor.maxTimes).toBe(1);
  });

  test('the same calls give the same schedule', async () => {
    const run = async () => {
      const reports: StepReport[] = [];
      const { engine } = testEngine({
        limits: { numBlocks: 12 },
        observer: { onStep: report => reports.push(report) },
      });
      for (let i = 0; i < 6; i++) engine.add(prompt(6 + i, i), { ...greedy, maxTokens: 12 });
      await drain(engine);
      return reports.map(({ numSequences, numTokens, numGenerationTokens, times }) => [
        numSequences,
        numTokens,
        numGenerationTokens,
        times,
      ]);
    };
    expect(await run()).toEqual(await run());
  });

  test('reports and statistics add up', async () => {
    const reports: StepReport[] = [];
    const finished: FinishedRequest[] = [];
    const { engine } = testEngine({
      observer: { onStep: report => reports.push(report), onRequestFinished: request => finished.push(request) },
    });
    engine.add(prompt(20), { ...greedy, maxTokens: 6 }, { requestId: 'one' });
    engine.add(prompt(10, 5), { ...greedy, maxTokens: 4 });
    await drain(engine);
    const sum = (pick: (report: StepReport) => number) => reports.reduce((total, report) => total + pick(report), 0);
    expect(sum(report => report.numPromptTokens)).toBe(30);
    expect(sum(report => report.numGenerationTokens)).toBe(10);
    expect(sum(report => report.timeToFirstToken.length)).toBe(2);
    expect(engine.stats()).toMatchObject({
      promptTokens: 30,
      generationTokens: 10,
      numRequestsRunning: 0,
      kvCacheUsage: 0,
    });
    expect(finished).toHaveLength(2);
    const one = finished.find(request => request.requestId === 'one')!;
    expect(one).toMatchObject({
      numPromptTokens: 20,
      numGenerationTokens: 6,
      finishReason: 'length',
      n: 1,
      maxTokens: 6,
    });
    const { arrival, firstScheduled, firstToken, finished: end } = one.metrics;
    expect(arrival <= firstScheduled! && firstScheduled! <= firstToken! && firstToken! <= end!).toBe(true);
  });
});
