import type { SamplingParams } from '@quire/core';
import { describe, expect, test } from 'vitest';
import { NAN_TOKEN } from '../../support/symbolic-model.ts';
import { drain, expectedOutput, prompt, type TestEngineOptions, testEngine, tokensOf } from './helpers.ts';

const greedy: SamplingParams = { temperature: 0, ignoreEos: true };
const oracle = { maxModelLen: 64, vocabSize: 32 };
const small = { numBlocks: 13, blockSize: 4, maxNumSeqs: 4 };

/** Conversations in turns: each comes back when the others have pushed its blocks out. */
async function converse(numHostBlocks: number, options: TestEngineOptions = {}) {
  const { engine, executor } = testEngine({ ...options, limits: { ...small, numHostBlocks, ...options.limits } });
  const outputs: number[][] = [];
  for (let turn = 0; turn < 3; turn++) {
    for (let i = 0; i < 4; i++) {
      const group = engine.add(prompt(20 + 6 * turn, i), { ...greedy, maxTokens: 5 });
      await drain(engine);
      expect(tokensOf(group)).toEqual(
        expectedOutput(prompt(20 + 6 * turn, i), { ...greedy, maxTokens: 5 }, 0n, oracle).tokenIds,
      );
      outputs.push(tokensOf(group));
    }
  }
  return { engine, executor, outputs };
}

describe('the host tier', () => {
  test('gives evicted blocks back: the same outputs from less than half the recomputed tokens', async () => {
    const without = await converse(0);
    const with_ = await converse(64);
    expect(with_.outputs).toEqual(without.outputs);
    // What the first turns compute, and each turn adds, is computed once in any case.
    const once = 4 * (20 + 6 + 6) + 12 * 4;
    const recomputed = (run: typeof without) => run.executor.tokensComputed - once;
    expect(recomputed(with_)).toBeLessThan(recomputed(without) / 2);
    const { toHost, toDevice } = with_.engine.stats().hostTierBytes;
    expect(toHost).toBeGreaterThan(0);
    expect(toDevice).toBeGreaterThan(0);
    expect(without.engine.stats().hostTierBytes).toEqual({ toHost: 0, toDevice: 0 });
  });

  test('takes the blocks of a preempted request, and gives them back when it resumes', async () => {
    const run = async (numHostBlocks: number) => {
      const { engine, executor } = testEngine({ limits: { ...small, numHostBlocks } });
      const groups = [0, 1, 2, 3].map(i => engine.add(prompt(9, i), { ...greedy, maxTokens: 24 }));
      await drain(engine);
      for (const [i, group] of groups.entries()) {
        const expected = expectedOutput(prompt(9, i), { ...greedy, maxTokens: 24 }, 0n, oracle);
        expect(tokensOf(group)).toEqual(expected.tokenIds);
      }
      expect(engine.stats().numPreemptions).toBeGreaterThan(0);
      return executor.tokensComputed - 4 * (9 + 23);
    };
    expect(await run(40)).toBeLessThan((await run(0)) / 2);
  });

  test('overwrites the slot used least recently', async () => {
    const { engine } = await converse(3);
    const { blocks, hostTier } = engine.scheduler;
    await hostTier!.idle();
    hostTier!.poll();
    const hostEntries = Array.from({ length: 3 }, (_, i) => blocks.cache!.has(blocks.numBlocks + i));
    expect(hostEntries.every(Boolean)).toBe(true);
  });

  test('an abort during a load frees everything', async () => {
    let gate = Promise.resolve();
    let open = () => {};
    const { engine } = testEngine({
      limits: { ...small, numHostBlocks: 40 },
      executor: { delayTransfer: () => gate },
    });
    const { blocks, hostTier } = engine.scheduler;
    for (const first of [0, 1, 2, 3]) {
      engine.add(prompt(20, first), { ...greedy, maxTokens: 4 });
      await drain(engine);
      await hostTier!.idle();
    }
    gate = new Promise(resolve => {
      open = resolve;
    });
    const back = engine.add(prompt(20, 0), { ...greedy, maxTokens: 4 });
    const step = engine.step();
    expect(engine.scheduler.running[0]?.isLoading).toBe(true);
    engine.abort(back);
    expect(blocks.numFreeBlocks).toBeLessThan(12);
    open();
    await step;
    await hostTier!.idle();
    hostTier!.poll();
    expect(blocks.numFreeBlocks).toBe(12);
  });

  test('blocks that cannot be loaded are computed again', async () => {
    let broken = false;
    const { engine } = testEngine({
      limits: { ...small, numHostBlocks: 16 },
      executor: {
        delayTransfer: async () => {
          if (broken) throw new Error('no memory');
        },
      },
    });
    for (const first of [0, 1, 2]) {
      engine.add(prompt(40, first), { ...greedy, maxTokens: 4 });
      await drain(engine);
    }
    broken = true;
    const group = engine.add(prompt(40, 0), { ...greedy, maxTokens: 4 });
    await drain(engine);
    expect(tokensOf(group)).toEqual(expectedOutput(prompt(40, 0), { ...greedy, maxTokens: 4 }, 0n, oracle).tokenIds);
    await engine.scheduler.hostTier!.idle();
    engine.scheduler.hostTier!.poll();
    expect(engine.scheduler.blocks.numFreeBlocks).toBe(12);
  });

  test('content of a request whose logits were not finite is forgotten there too', async () => {
    const { engine } = testEngine({ limits: { ...small, numHostBlocks: 32 } });
    const bad = [...prompt(9), NAN_TOKEN, ...prompt(20)];
    engine.add(bad, { ...greedy, maxTokens: 9 });
    for (const first of [2, 3, 4]) {
      engine.add(prompt(40, first), { ...greedy, maxTokens: 4 });
      await drain(engine);
    }
    const { blocks, hostTier } = engine.scheduler;
    expect(blocks.lookup(Uint32Array.from(bad), 28, '').blocks).toEqual([]);
    expect(hostTier!.find(0, Uint32Array.from(bad), 0, 28)).toEqual([]);
  });

  test('a block that was to be cleared holds what is loaded into it instead', async () => {
    const { engine } = testEngine({ limits: { ...small, numHostBlocks: 40 } });
    for (const first of [0, 1, 2]) {
      engine.add(prompt(20, first), { ...greedy, maxTokens: 4 });
      await drain(engine);
      await engine.scheduler.hostTier!.idle();
    }
    // Its blocks are cleared with the next step, and are the next to be handed out.
    engine.add([...prompt(14, 9), NAN_TOKEN, ...prompt(9, 9)], { ...greedy, maxTokens: 4 });
    await drain(engine);
    const before = engine.stats().hostTierBytes.toDevice;
    const back = engine.add(prompt(20, 0), { ...greedy, maxTokens: 4 });
    await drain(engine);
    expect(engine.stats().hostTierBytes.toDevice).toBeGreaterThan(before);
    expect(tokensOf(back)).toEqual(expectedOutput(prompt(20, 0), { ...greedy, maxTokens: 4 }, 0n, oracle).tokenIds);
  });

  test('needs the prefix cache', () => {
    const options = { limits: { numHostBlocks: 4 }, config: { enablePrefixCaching: false } };
    expect(() => testEngine(options)).toThrow(/swapSpace keeps blocks of the prefix cache/);
  });
});
