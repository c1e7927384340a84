import { EngineError, LLMEngine, type SamplingParams } from '@quire/core';
import { DeviceError, DeviceLostError } from '@quire/core/contract';
import { describe, expect, test } from 'vitest';
import { SymbolicExecutor } from '../../support/symbolic-executor.ts';
import {
  drain,
  engineOptions,
  expectedOutput,
  prompt,
  type TestEngineOptions,
  testEngine,
  tokensOf,
} from './helpers.ts';

const greedy: SamplingParams = { temperature: 0, ignoreEos: true };
const oracle = { maxModelLen: 64, vocabSize: 32 };

function expected(length: number, first: number, maxTokens: number): number[] {
  return expectedOutput(prompt(length, first), { ...greedy, maxTokens }, 0n, oracle).tokenIds;
}

/** Requests come and go while the device is lost again and again. */
async function loseDevices(losses: number, options: TestEngineOptions): Promise<void> {
  let lost = 0;
  let submits = 0;
  const fault = () => {
    if (lost === losses || ++submits % 5 !== 0) return null;
    lost++;
    return new DeviceLostError('lost on purpose');
  };
  const { engine } = testEngine({ ...options, executor: { fault } });
  const groups: [ReturnType<LLMEngine['add']>, number][] = [];
  for (let i = 0; lost < losses || engine.hasUnfinished; i++) {
    expect(i).toBeLessThan(100 * losses);
    if (lost < losses && i % 3 === 0)
      groups.push([engine.add(prompt(4 + (i % 20), i), { ...greedy, maxTokens: 12 }), i]);
    await engine.step();
  }
  expect(lost).toBe(losses);
  expect(engine.stats().numRecoveries).toBe(losses);
  expect(engine.stats().finished.length).toBe(groups.length);
  for (const [group, i] of groups) expect(tokensOf(group)).toEqual(expected(4 + (i % 20), i, 12));
}

describe('a lost device', () => {
  test.each<[string, TestEngineOptions]>([
    ['plainly', {}],
    ['with submits in flight', { config: { runAhead: 3, numSchedulerSteps: 4 } }],
    ['with host memory behind it', { limits: { numBlocks: 17, numHostBlocks: 20 } }],
    ['without a prefix cache', { config: { enablePrefixCaching: false } }],
  ])('250 times: no request is lost and outputs are the same, %s', async (_, options) => {
    await loseDevices(250, options);
  });

  test('completions and beams go on where they were', async () => {
    let submits = 0;
    const fault = () => (++submits % 4 === 0 ? new DeviceLostError('lost') : null);
    const run = async (executor: NonNullable<TestEngineOptions['executor']>) => {
      const { engine } = testEngine({ executor });
      const sampled = engine.add(prompt(9), { temperature: 1, seed: 3, n: 3, maxTokens: 9 });
      const beams = engine.add(prompt(9, 4), { useBeamSearch: true, n: 2, maxTokens: 9 });
      await drain(engine);
      return [sampled, beams].map(group => group.sequences.map((_, i) => tokensOf(group, i)));
    };
    expect(await run({ fault })).toEqual(await run({}));
  });

  test('that cannot be replaced fails all requests, and the engine refuses more', async () => {
    const { reopen: _, ...options } = engineOptions({ executor: { fault: () => new DeviceLostError('gone') } });
    const engine = new LLMEngine(options);
    const group = engine.add(prompt(5), greedy);
    await expect(drain(engine)).rejects.toThrow('The engine failed in a step: gone');
    expect(group.failure).toBeInstanceOf(EngineError);
    expect(engine.hasUnfinished).toBe(false);
    expect(() => engine.add(prompt(5), greedy)).toThrow('gone');
    await engine.dispose();
    expect(options.executor.disposed).toBe(true);
  });

  test('that is lost again before any step succeeds is given up in the end', async () => {
    let opened = 0;
    const options = engineOptions({ executor: { fault: () => new DeviceLostError('gone') } });
    const reopen = async () => {
      opened++;
      return options.reopen();
    };
    const engine = new LLMEngine({ ...options, reopen });
    engine.add(prompt(5), greedy);
    await expect(drain(engine)).rejects.toThrow('gone');
    expect(opened).toBe(16);
  });

  test('whose successor has a smaller cache loses only what does not fit any more', async () => {
    let isFirst = true;
    const limits = { numBlocks: 33 };
    const options = engineOptions({
      limits,
      executor: {
        fault: ({ newRows }) => (isFirst && newRows.length === 0 ? new DeviceLostError('gone') : null),
      },
    });
    const reopen = async () => {
      isFirst = false;
      return new SymbolicExecutor({ limits: { ...options.executor.limits, numBlocks: 5 } });
    };
    const engine = new LLMEngine({ ...options, reopen });
    const [large, small] = [engine.add(prompt(30), greedy), engine.add(prompt(5), { ...greedy, maxTokens: 8 })];
    await drain(engine);
    expect(large.error?.message).toMatch(/does not fit the cache/);
    expect(tokensOf(small)).toEqual(expected(5, 1, 8));
  });
});

describe('a step that fails', () => {
  test('once costs nobody anything', async () => {
    let submits = 0;
    const fault = () => (++submits === 4 ? new DeviceError('a bad step') : null);
    const { engine } = testEngine({ executor: { fault }, config: { runAhead: 2 } });
    const groups = [0, 1, 2].map(first => engine.add(prompt(9, first), { ...greedy, maxTokens: 9 }));
    await drain(engine);
    for (const [first, group] of groups.entries()) expect(tokensOf(group)).toEqual(expected(9, first, 9));
    expect(engine.stats()).toMatchObject({ numRecoveries: 1, finished: { length: 3, error: 0 } });
  });

  test('whenever a request takes part in it ends that request alone', async () => {
    // Whoever brings this prompt makes every step fail that it is in.
    const rows = new Set<number>();
    const fault: NonNullable<TestEngineOptions['executor']>['fault'] = step => {
      for (const { row, tokenIds } of step.newRows) {
        if (tokenIds[0] === 28) rows.add(row);
        else rows.delete(row);
      }
      return step.rows.some(row => rows.has(row)) ? new DeviceError('a bad row') : null;
    };
    const { engine } = testEngine({ executor: { fault }, limits: { maxNumBatchedTokens: 64 } });
    const good = [0, 1, 2].map(first => engine.add(prompt(9, first), { ...greedy, maxTokens: 9 }));
    const bad = engine.add([28, 1, 2], greedy);
    const later = engine.add(prompt(9, 3), { ...greedy, maxTokens: 9 });
    await drain(engine);
    expect(bad.sequences[0]!.finishReason).toBe('error');
    expect(bad.error?.message).toBe('The request failed: a bad row');
    for (const [first, group] of [...good, later].entries()) expect(tokensOf(group)).toEqual(expected(9, first, 9));
  });
});

describe('pause and sleep', () => {
  test('with steps and transfers in flight, sleep asks nothing more of the device', async () => {
    const { engine, executor } = testEngine({
      limits: { numBlocks: 17, numHostBlocks: 20 },
      config: { runAhead: 2 },
      executor: { deliver: result => new Promise(resolve => setTimeout(resolve, 1, result)) },
    });
    const groups = [0, 1, 2].map(first => engine.add(prompt(20, first), { ...greedy, maxTokens: 20 }));
    for (let i = 0; i < 4; i++) await engine.step();
    const step = engine.step();
    await engine.sleep();
    const transfer = executor.transfer.bind(executor);
    executor.transfer = (...move) => {
      expect(engine.isSleeping).toBe(false);
      return transfer(...move);
    };
    await Promise.race([step, new Promise(resolve => setTimeout(resolve, 10))]);
    await engine.wakeUp();
    await drain(engine);
    for (const [first, group] of groups.entries()) expect(tokensOf(group)).toEqual(expected(20, first, 20));
  });

  test('a sleep that fails leaves the engine as it was, but for the pause', async () => {
    const { reopen: _, ...options } = engineOptions({ limits: { numHostBlocks: 8 } });
    const engine = new LLMEngine(options);
    const group = engine.add(prompt(9), { ...greedy, maxTokens: 9 });
    await engine.step();
    await expect(engine.sleep({ discardWeights: true })).rejects.toThrow('cannot load its weights again');
    engine.resume();
    await drain(engine);
    expect(tokensOf(group)).toEqual(expected(9, 1, 9));
  });

  test('a pause keeps requests, and takes more', async () => {
    const { engine, executor } = testEngine();
    const first = engine.add(prompt(9), { ...greedy, maxTokens: 20 });
    await engine.step();
    engine.pause();
    while (engine.host.numInFlight > 0) await engine.step();
    const { submits } = executor;
    const second = engine.add(prompt(9, 2), { ...greedy, maxTokens: 5 });
    const step = engine.step();
    expect(
      await Promise.race([step.then(() => 'went on'), new Promise(resolve => setTimeout(resolve, 20, 'waits'))]),
    ).toBe('waits');
    expect(executor.submits).toBe(submits);
    engine.resume();
    await step;
    await drain(engine);
    expect(tokensOf(first)).toEqual(expected(9, 1, 20));
    expect(tokensOf(second)).toEqual(expected(9, 2, 5));
  });

  test.each([true, false])(
    'sleep drops the cache, and requests go on after it (weights discarded: %s)',
    async discardWeights => {
      const { engine, executor } = testEngine({ config: { runAhead: 2 } });
      const group = engine.add(prompt(9), { ...greedy, maxTokens: 20 });
      for (let i = 0; i < 3; i++) await engine.step();
      await engine.sleep({ discardWeights });
      expect(engine.host.isSleeping).toBe(true);
      expect(executor.disposed).toBe(true);
      expect(engine.stats()).toMatchObject({ numRequestsRunning: 0, kvCacheUsage: 0 });
      expect(() => engine.resume()).toThrow('asleep');
      const added = engine.add(prompt(9, 2), { ...greedy, maxTokens: 5 });
      await engine.wakeUp();
      await drain(engine);
      expect(tokensOf(group)).toEqual(expected(9, 1, 20));
      expect(tokensOf(added)).toEqual(expected(9, 2, 5));
    },
  );
});
