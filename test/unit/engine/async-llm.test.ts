import {
  AsyncLLM,
  EngineClosedError,
  EngineError,
  InvalidRequestError,
  type RequestOutput,
  type RequestStream,
  type SamplingParams,
} from '@quire/core';
import { DeviceLostError } from '@quire/core/contract';
import { describe, expect, test } from 'vitest';
import { engineOptions, expectedOutput, type TestEngineOptions } from './helpers.ts';

const greedy: SamplingParams = { temperature: 0, ignoreEos: true, maxTokens: 12 };
const oracle = { maxModelLen: 64, vocabSize: 32 };
const PROMPT = [1, 2, 3, 4, 5];
const EXPECTED = expectedOutput(PROMPT, greedy, 0n, oracle).tokenIds;

function open(options: TestEngineOptions = {}) {
  const all = engineOptions(options);
  return { llm: new AsyncLLM(all), executor: all.executor };
}

async function collect(stream: RequestStream): Promise<RequestOutput[]> {
  const outputs: RequestOutput[] = [];
  for await (const output of stream) outputs.push(output);
  return outputs;
}

/** Results take a turn of the event loop, as a device's do. */
const slow: TestEngineOptions = {
  executor: { deliver: result => new Promise(resolve => setTimeout(resolve, 1, result)) },
  config: { numSchedulerSteps: 1 },
};

describe('streams', () => {
  test('cumulative outputs grow to the whole', async () => {
    const { llm } = open(slow);
    const outputs = await collect(llm.generate(PROMPT, greedy));
    expect(outputs.length).toBeGreaterThan(3);
    for (const output of outputs) {
      const { tokenIds } = output.outputs[0]!;
      expect(tokenIds).toEqual(EXPECTED.slice(0, tokenIds.length));
    }
    expect(outputs.map(output => output.finished)).toEqual([...outputs.slice(1).map(() => false), true]);
    expect(outputs.at(-1)!.outputs[0]).toMatchObject({ tokenIds: EXPECTED, finishReason: 'length', index: 0 });
    await llm.dispose();
  });

  test('deltas add up to the whole, also for several completions with log-probabilities', async () => {
    const { llm } = open(slow);
    const params = { temperature: 1, seed: 5, n: 3, maxTokens: 6, logprobs: 1, promptLogprobs: 0, ignoreEos: true };
    const outputs = await collect(llm.generate(PROMPT, params, { outputKind: 'delta' }));
    const tokens: number[][] = [[], [], []];
    const logprobs = [0, 0, 0];
    for (const { outputs: deltas } of outputs) {
      for (const delta of deltas) {
        tokens[delta.index]!.push(...delta.tokenIds);
        logprobs[delta.index]! += delta.logprobs!.length;
      }
    }
    expect(tokens).toEqual([5n, 6n, 7n].map(seed => expectedOutput(PROMPT, params, seed, oracle).tokenIds));
    expect(logprobs).toEqual([6, 6, 6]);
    expect(outputs.filter(output => output.promptLogprobs !== null)).toHaveLength(1);
    await llm.dispose();
  });

  test('a final stream gives one output', async () => {
    const { llm } = open(slow);
    const outputs = await collect(llm.generate(PROMPT, greedy, { outputKind: 'final' }));
    expect(outputs).toHaveLength(1);
    expect(outputs[0]!.outputs[0]!.tokenIds).toEqual(EXPECTED);
    await llm.dispose();
  });

  test('a consumer that is slower than the engine gets merged deltas', async () => {
    const { llm } = open();
    const stream = llm.generate(PROMPT, greedy, { outputKind: 'delta' });
    await collect(llm.generate(PROMPT, { ...greedy, maxTokens: 40 }));
    const outputs = await collect(stream);
    expect(outputs).toHaveLength(1);
    expect(outputs[0]!.outputs[0]!.tokenIds).toEqual(EXPECTED);
    await llm.dispose();
  });

  test('many at once give what each gives alone', async () => {
    const { llm } = open({ limits: { numBlocks: 12 } });
    const prompts = Array.from({ length: 40 }, (_, i) => [1, 2, 3, 4, i % 7, i % 5]);
    const results = await Promise.all(
      prompts.map(prompt => collect(llm.generate(prompt, greedy, { outputKind: 'final' }))),
    );
    for (const [i, [output]] of results.entries()) {
      expect(output!.outputs[0]!.tokenIds).toEqual(expectedOutput(prompts[i]!, greedy, 0n, oracle).tokenIds);
    }
    expect(llm.stats().numPreemptions).toBeGreaterThan(0);
    await llm.dispose();
  });

  test('requests that are added together start in one step', async () => {
    const { llm, executor } = open();
    await Promise.all([1, 2, 3].map(i => collect(llm.generate([i], { ...greedy, maxTokens: 1 }))));
    expect(executor.submits).toBe(1);
    await llm.dispose();
  });

  test('the event loop turns while a fast executor works', async () => {
    const { llm } = open({ limits: { maxModelLen: 4000, numBlocks: 1001 }, config: { numSchedulerSteps: 1 } });
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    await collect(llm.generate(PROMPT, { ...greedy, maxTokens: 600 }, { outputKind: 'final' }));
    clearInterval(timer);
    expect(turns).toBeGreaterThan(2);
    await llm.dispose();
  });
});

describe('abort', () => {
  test('leaving the loop aborts the request and frees its blocks', async () => {
    const { llm } = open(slow);
    for await (const output of llm.generate(PROMPT, greedy)) {
      expect(output.finished).toBe(false);
      break;
    }
    expect(llm.stats()).toMatchObject({ numRequestsRunning: 0, kvCacheUsage: 0, finished: { abort: 1 } });
    await llm.dispose();
  });

  test('a signal ends the stream with an output that says so; tokens so far are in it', async () => {
    const { llm } = open(slow);
    const controller = new AbortController();
    const outputs: RequestOutput[] = [];
    for await (const output of llm.generate(PROMPT, greedy, { signal: controller.signal })) {
      outputs.push(output);
      if (outputs.length === 2) controller.abort();
    }
    const last = outputs.at(-1)!;
    expect(last.finished).toBe(true);
    expect(last.outputs[0]!.finishReason).toBe('abort');
    expect(last.outputs[0]!.tokenIds).toEqual(EXPECTED.slice(0, last.outputs[0]!.tokenIds.length));
    expect(llm.stats().finished).toEqual({ stop: 0, length: 0, abort: 1, error: 0 });
    await llm.dispose();
  });

  test('a signal that was aborted before, an abort by id, and one after the end', async () => {
    const { llm } = open(slow);
    const [early] = await collect(llm.generate(PROMPT, greedy, { signal: AbortSignal.abort() }));
    expect(early!.outputs[0]).toMatchObject({ finishReason: 'abort', tokenIds: [] });
    const stream = llm.generate(PROMPT, greedy, { requestId: 'x' });
    llm.abort('x');
    expect((await collect(stream)).at(-1)!.outputs[0]!.finishReason).toBe('abort');
    const done = llm.generate(PROMPT, greedy, { outputKind: 'final' });
    await collect(done);
    done.abort();
    expect(llm.stats().finished).toMatchObject({ abort: 2, length: 1 });
    await llm.dispose();
  });

  test('an abort storm leaves nothing behind', async () => {
    const { llm } = open(slow);
    const streams = Array.from({ length: 100 }, (_, i) => llm.generate([1, 2, i % 20], greedy));
    const all = streams.map(collect);
    for (const [i, stream] of streams.entries()) {
      if (i % 3 === 0) stream.abort();
      if (i % 10 === 0) await new Promise(resolve => setTimeout(resolve, 1));
    }
    const outputs = await Promise.all(all);
    expect(outputs.every(list => list.at(-1)!.finished)).toBe(true);
    expect(outputs.every(list => list.filter(output => output.finished).length === 1)).toBe(true);
    expect(llm.stats()).toMatchObject({ numRequestsRunning: 0, numRequestsWaiting: 0, kvCacheUsage: 0 });
    await llm.dispose();
  });
});

describe('failures', () => {
  test('a wrong request throws at once and harms nobody', async () => {
    const { llm } = open(slow);
    const running = collect(llm.generate(PROMPT, greedy));
    expect(() => llm.generate(PROMPT, { temperature: 3 })).toThrow(InvalidRequestError);
    expect(() => llm.generate([], greedy)).toThrow(InvalidRequestError);
    expect((await running).at(-1)!.outputs[0]!.tokenIds).toEqual(EXPECTED);
    await llm.dispose();
  });

  test('a lost device that cannot be replaced rejects every stream with EngineError, and later requests', async () => {
    const { reopen: _, ...options } = engineOptions(slow);
    const { executor } = options;
    const llm = new AsyncLLM(options);
    const streams = [1, 2, 3, 4, 5, 6].map(i => collect(llm.generate([i], greedy)));
    setTimeout(() => {
      executor.failure = new DeviceLostError('lost');
    }, 3);
    const results = await Promise.allSettled(streams);
    for (const result of results) {
      expect(result.status).toBe('rejected');
      expect((result as PromiseRejectedResult).reason).toBeInstanceOf(EngineError);
    }
    expect(() => llm.generate(PROMPT, greedy)).toThrow(EngineError);
    await llm.dispose();
    expect(executor.disposed).toBe(true);
  });

  test('one that can be replaced costs the streams nothing', async () => {
    const { llm, executor } = open(slow);
    const stream = collect(llm.generate(PROMPT, greedy));
    setTimeout(() => {
      executor.failure = new DeviceLostError('lost');
    }, 3);
    expect((await stream).at(-1)!.outputs[0]!.tokenIds).toEqual(EXPECTED);
    expect(llm.stats().numRecoveries).toBe(1);
    await llm.dispose();
  });

  test('sleep keeps streams waiting, and the wake brings them on', async () => {
    const { llm } = open(slow);
    const stream = collect(llm.generate(PROMPT, greedy));
    await new Promise(resolve => setTimeout(resolve, 3));
    await llm.sleep();
    expect(llm.isSleeping).toBe(true);
    await llm.wakeUp();
    expect((await stream).at(-1)!.outputs[0]!.tokenIds).toEqual(EXPECTED);
    llm.pause({ abort: true });
    llm.resume();
    await llm.dispose();
  });

  test('dispose fails what runs with EngineClosedError, once, and frees the executor', async () => {
    const { llm, executor } = open(slow);
    const stream = collect(llm.generate(PROMPT, greedy));
    stream.catch(() => {});
    await new Promise(resolve => setTimeout(resolve, 3));
    await Promise.all([llm.dispose(), llm.dispose()]);
    await expect(stream).rejects.toBeInstanceOf(EngineClosedError);
    expect(executor.disposed).toBe(true);
    expect(() => llm.generate(PROMPT, greedy)).toThrow(EngineClosedError);
  });
});
