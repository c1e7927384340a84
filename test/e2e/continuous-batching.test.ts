/**
 * Continuous batching changes nothing: 64 requests on a pool too small for them give the tokens that each gives alone. Alone
 * means the golden outputs of the independent models: every request is a golden case, asked from some point of its output on.
 */
import { describe, expect, it } from 'vitest';
import { LLMEngine } from '../../packages/core/src/engine/llm-engine.ts';
import { createModelRunner } from '../../packages/core/src/worker/index.ts';
import { endToEndDevices, fullEndToEnd, openTestDevice } from '../support/devices.ts';
import { goldenCases, openModel } from './models.ts';

const NUM_REQUESTS = 64;
/** 40 blocks of 8 tokens hold three or four of the longer requests; 12 may run. */
const config = {
  dtype: 'auto',
  seed: 0n,
  maxModelLen: 256,
  blockSize: 8,
  maxNumSeqs: 12,
  maxNumBatchedTokens: 48,
  kvCacheDtype: 'f32',
  kvCacheMemoryBytes: null,
  numGpuBlocksOverride: 40,
  maxLogprobs: 5,
  enablePrefixCaching: true,
  enableChunkedPrefill: true,
  runAhead: 3,
  numSchedulerSteps: 4,
} as const;

interface Job {
  readonly promptTokenIds: readonly number[];
  readonly expected: readonly number[];
  readonly maxTokens: number;
  /** Steps of the engine after which it arrives. */
  readonly arrival: number;
}

/** 64 requests of mixed lengths: golden case i, with a part of its output moved into the prompt, arriving in bursts. */
function makeJobs(folder: string): Job[] {
  const cases = goldenCases(folder);
  const random = generator(7);
  let arrival = 0;
  return Array.from({ length: NUM_REQUESTS }, (_, i) => {
    const { promptTokenIds, tokenIds } = cases[i % cases.length]!;
    const moved = i < cases.length ? 0 : random(tokenIds.length);
    const maxTokens = 1 + random(48);
    if (i >= 20) arrival += random(3) === 0 ? random(12) : 0;
    return {
      promptTokenIds: [...promptTokenIds, ...tokenIds.slice(0, moved)],
      expected: tokenIds.slice(moved, moved + maxTokens),
      maxTokens,
      arrival,
    };
  });
}

/** Integers in [0, below): the minimal standard generator (Park and Miller 1988). */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return below => {
    state = (state * 48271) % 0x7fffffff;
    return state % below;
  };
}

describe.each(endToEndDevices())('continuous batching on %s', name => {
  const folders = fullEndToEnd ? ['models/tiny-llama', 'models/tiny-opt'] : ['models/tiny-llama'];
  it.each(folders)('gives the tokens of each request alone: %s', async folder => {
    const device = await openTestDevice(name);
    const { source, eosTokenIds, ...model } = await openModel(folder);
    const executor = await createModelRunner({ device, ...model, engineConfig: config });
    await source.close();
    const engine = new LLMEngine({ executor, config, tokenizer: null, eosTokenIds });
    const jobs = makeJobs(folder);
    const waiting = [...jobs.entries()];
    const groups: ReturnType<typeof engine.add>[] = [];
    for (let step = 0; waiting.length > 0 || engine.hasUnfinished; step++) {
      while (waiting.length > 0 && waiting[0]![1].arrival <= step) {
        const [index, { promptTokenIds, maxTokens }] = waiting.shift()!;
        groups[index] = engine.add({ promptTokenIds }, { temperature: 0, maxTokens });
      }
      await engine.step();
    }
    jobs.forEach(({ expected }, index) => {
      const { request, finishReason } = groups[index]!.sequences[0]!;
      expect(request.outputTokens(), `${index}`).toEqual(expected);
      expect(finishReason).toBe(eosTokenIds.includes(expected.at(-1)!) ? 'stop' : 'length');
    });
    const stats = engine.stats();
    expect(stats.numPreemptions).toBeGreaterThan(3);
    expect(stats.prefixCacheHits).toBeGreaterThan(200);
    // What was computed fills the pool several times over, so cached blocks were evicted.
    const computed = stats.promptTokens + stats.generationTokens - stats.prefixCacheHits;
    expect(computed).toBeGreaterThan(3 * config.numGpuBlocksOverride * config.blockSize);
    await engine.dispose();
  });
});
