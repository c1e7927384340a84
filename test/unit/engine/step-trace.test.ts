import type { StepTrace } from '@quire/core';
import { expect, test } from 'vitest';
import { drain, prompt, testEngine } from './helpers.ts';

/** Runs requests to their end and returns what was seen of every step, as another thread would get it. */
async function traced(
  options: Parameters<typeof testEngine>[0],
  requests: readonly (readonly [prompt: number[], n: number])[],
): Promise<StepTrace[]> {
  const traces: StepTrace[] = [];
  const observer = { onTrace: (trace: StepTrace) => void traces.push(structuredClone(trace)) };
  const { engine } = testEngine({ ...options, observer });
  for (const [tokens, n] of requests) engine.add(tokens, { n, temperature: 1, seed: 7, maxTokens: 6, ignoreEos: true });
  await drain(engine);
  await engine.dispose();
  return traces;
}

const oneByOne = { runAhead: 1, numSchedulerSteps: 1 };
const count = (values: Iterable<number>, is: (value: number) => boolean) => [...values].filter(is).length;

test('every step tells who holds which block, what it computed and what it wrote', async () => {
  const traces = await traced({ config: oneByOne }, [
    [prompt(10), 1],
    [prompt(6, 3), 1],
  ]);
  expect(traces.map(({ step }) => step)).toEqual(traces.map((_, i) => i + 1));
  for (const { sequences, pool, batch } of traces) {
    const held = new Uint16Array(pool.refCounts.length);
    for (const { blockTable } of sequences) for (const block of blockTable) held[block]!++;
    expect(pool.refCounts).toEqual(held);
    expect(pool.freeOrder).toHaveLength(count(pool.refCounts.subarray(1), value => value === 0));
    for (const block of pool.written) expect(pool.filled[block]).toBeGreaterThan(0);
    expect(batch.every(({ numTokens, phase }) => (phase === 'decode') === (numTokens === 1))).toBe(true);
  }
  const [first] = traces;
  expect(first!.batch).toEqual([
    { requestId: '0', index: 0, start: 0, numTokens: 10, phase: 'prefill' },
    { requestId: '1', index: 0, start: 0, numTokens: 6, phase: 'prefill' },
  ]);
  expect(first!.sequences[0]).toMatchObject({ status: 'running', numPromptTokens: 10, numTokens: 11, numComputed: 10 });
  expect([...first!.pool.filled].filter(slots => slots > 0)).toEqual([4, 4, 2, 4, 2]);
  expect(traces.at(-1)!.counters.generationTokens).toBe(12);
});

test('a shared prefix, a fork and its copy on write can be seen', async () => {
  const shared = await traced({ config: oneByOne, limits: { maxNumSeqs: 2, maxNumBatchedTokens: 9 } }, [
    [prompt(9), 1],
    [prompt(9), 1],
  ]);
  expect(shared.some(({ pool }) => count(pool.refCounts, value => value === 2) === 2)).toBe(true);
  expect(shared.at(-1)!.counters.prefixCacheHits).toBe(8);
  expect(count(shared.at(-1)!.pool.cached, value => value === 1)).toBeGreaterThan(1);

  const forked = await traced({ config: oneByOne }, [[prompt(6), 3]]);
  expect(forked.some(({ pool }) => Math.max(...pool.refCounts) === 3)).toBe(true);
  expect(forked.flatMap(({ pool }) => [...pool.copies]).length).toBeGreaterThan(0);
});

test('preemption and those who wait can be seen', async () => {
  const traces = await traced({ config: oneByOne, limits: { numBlocks: 6, maxModelLen: 16 } }, [
    [prompt(8), 1],
    [prompt(8, 2), 1],
  ]);
  expect(traces.at(-1)!.counters.preemptions).toBeGreaterThan(0);
  expect(traces.some(({ sequences }) => sequences.some(({ status }) => status === 'preempted'))).toBe(true);
});
