/** How far the engine runs ahead of its results changes the pace, never the outputs. */
import type { LLMEngine, SamplingParams } from '@quire/core';
import { SAMPLE_FINITE } from '@quire/core/contract';
import { openReferenceDevice } from '@quire/core/reference';
import { expect, test } from 'vitest';
import { tinyEngine } from '../../support/tiny-engine.ts';
import { drain, expectedOutput, prompt, testEngine, tokensOf } from './helpers.ts';

const greedy: SamplingParams = { temperature: 0, ignoreEos: true };

function addAll(engine: LLMEngine) {
  return [
    engine.add(prompt(9), { ...greedy, maxTokens: 21 }),
    engine.add(prompt(5, 2), { temperature: 0.8, seed: 1, maxTokens: 17, stopTokenIds: [7, 40] }),
    engine.add(prompt(13, 4), { ...greedy, maxTokens: 9, logprobs: 1 }),
    engine.add(prompt(7, 6), { ...greedy, maxTokens: 12, badWords: [] }),
    engine.add(prompt(6, 8), { n: 2, useBeamSearch: true, maxTokens: 8 }),
    engine.add(prompt(6, 9), { ...greedy, maxTokens: 10, logitsProcessors: [(_, logits) => logits.fill(-9, 0, 40)] }),
  ];
}

test('outputs over a device do not depend on submits in flight, repeats per submit or async_scheduling', async () => {
  const device = await openReferenceDevice();
  const run = async (options: Record<string, unknown>) => {
    const engine = await tinyEngine(device, options);
    const groups = addAll(engine);
    await drain(engine);
    await engine.dispose();
    return groups.map(group => group.sequences.map((_, i) => tokensOf(group, i)));
  };
  const expected = await run({ asyncScheduling: false });
  for (const runAhead of [1, 2, 4]) {
    for (const numSchedulerSteps of [1, 3, 8]) expect(await run({ runAhead, numSchedulerSteps })).toEqual(expected);
  }
});

test('rows that need the host sit out, and the others lose no step by it', async () => {
  const steps = async (withHostRow: boolean) => {
    const { engine, executor } = testEngine({ config: { runAhead: 2, numSchedulerSteps: 1 } });
    const free = engine.add(prompt(5), { ...greedy, maxTokens: 40 });
    if (withHostRow) engine.add(prompt(5, 2), { useBeamSearch: true, n: 2, maxTokens: 30 });
    let submits = 0;
    while (!free.isFinished) {
      await engine.step();
      submits = executor.submits;
    }
    await drain(engine);
    const oracle = expectedOutput(prompt(5), { ...greedy, maxTokens: 40 }, 0n, { maxModelLen: 64, vocabSize: 32 });
    expect(tokensOf(free)).toEqual(oracle.tokenIds);
    return submits;
  };
  expect(await steps(true)).toBeLessThanOrEqual((await steps(false)) + 2);
});

test('a batch that decodes on is told as a repeat, and every token of it is kept', async () => {
  // Without a prefix cache nothing asks for tokens while a request runs. Some are preempted: four do not fit at their full length.
  for (const [runAhead, numSchedulerSteps, enablePrefixCaching] of [
    [1, 1, true],
    [2, 1, true],
    [2, 4, true],
    [1, 1, false],
    [2, 1, false],
    [2, 4, false],
  ] as const) {
    const config = { runAhead, numSchedulerSteps, enablePrefixCaching };
    const { engine, executor } = testEngine({ config, limits: { maxNumSeqs: 4, numBlocks: 21 } });
    const params = Array.from({ length: 8 }, (_, i) => ({
      temperature: 0,
      ignoreEos: i % 2 === 0,
      maxTokens: 20 + 3 * i,
    }));
    const groups = params.map((request, i) => engine.add(prompt(3 + i, i), request));
    await drain(engine);
    for (const [i, group] of groups.entries()) {
      const oracle = expectedOutput(prompt(3 + i, i), params[i]!, 0n, { maxModelLen: 64, vocabSize: 32 });
      expect(tokensOf(group)).toEqual(oracle.tokenIds);
      expect(group.sequences[0]!.finishReason).toBe(oracle.finishReason);
    }
    expect(executor.repeats).toBeGreaterThan(executor.submits / 8);
    expect(engine.stats().numPreemptions).toBeGreaterThan(0);
  }
});

test('a sample that is not finite ends a request that decodes on', async () => {
  let results = 0;
  const { engine } = testEngine({
    config: { runAhead: 1, numSchedulerSteps: 1 },
    executor: {
      deliver: async result => {
        if (++results === 8) result.flags[0]! &= ~SAMPLE_FINITE;
        return result;
      },
    },
  });
  const group = engine.add(prompt(5), { ...greedy, maxTokens: 20 });
  await drain(engine);
  expect([group.sequences[0]!.finishReason, tokensOf(group).length]).toEqual(['error', 7]);
});
