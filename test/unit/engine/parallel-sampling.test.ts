import { describe, expect, test } from 'vitest';
import { openTestDevice, requiredDevices } from '../../support/devices.ts';
import { tinyEngine } from '../../support/tiny-engine.ts';
import { drain, expectedOutput, prompt, testEngine, tokensOf } from './helpers.ts';

const oracle = { maxModelLen: 64, vocabSize: 32 };
const params = { temperature: 1, seed: 40, maxTokens: 5, ignoreEos: true };

function expected(length: number, index: number, maxTokens = 5) {
  return expectedOutput(prompt(length), { ...params, maxTokens }, 40n + BigInt(index), oracle);
}

describe('completions of one prompt', () => {
  test.each([true, false])('share its blocks and copy the one they diverge in (prefix cache %s)', async caching => {
    const { engine, executor } = testEngine({ config: { enablePrefixCaching: caching } });
    const group = engine.add(prompt(10), { ...params, n: 3 });
    await engine.step();
    await engine.step();
    const { blocks, running } = engine.scheduler;
    expect(running.length).toBe(3);
    const [first, ...others] = running.map(({ table }) => table.from(0));
    for (const table of others) expect(table.slice(0, 2)).toEqual(first!.slice(0, 2));
    expect(blocks.refCount(first![0]!)).toBe(3);
    await drain(engine);
    expect(group.sequences.map((_, i) => tokensOf(group, i))).toEqual([0, 1, 2].map(i => expected(10, i).tokenIds));
    // The third block holds the end of the prompt: two followers copy it, and compute the last token of the prompt again.
    expect(executor.blocksCopied).toBe(2);
    expect(executor.tokensComputed).toBe(10 + 2 + 3 * 4);
    expect(blocks.numFreeBlocks).toBe(blocks.numBlocks - 1);
  });

  test('a prompt of whole blocks needs no copy', async () => {
    const { engine, executor } = testEngine();
    engine.add(prompt(9), { ...params, n: 4 });
    await drain(engine);
    expect(executor.blocksCopied).toBe(0);
  });

  test('more of them than rows run one after another', async () => {
    const { engine } = testEngine({ limits: { maxNumSeqs: 2, numBlocks: 9 }, config: { enablePrefixCaching: false } });
    const group = engine.add(prompt(10), { ...params, n: 6 });
    await drain(engine);
    for (let i = 0; i < 6; i++) expect(tokensOf(group, i)).toEqual(expected(10, i).tokenIds);
  });

  test('a follower whose leader ends first computes the prompt itself', async () => {
    const { engine, executor } = testEngine({ limits: { maxNumSeqs: 1 }, config: { enablePrefixCaching: false } });
    const group = engine.add(prompt(10), { ...params, n: 2 });
    await drain(engine);
    expect(tokensOf(group, 1)).toEqual(expected(10, 1).tokenIds);
    expect(executor.tokensComputed).toBe(2 * (10 + 4));
  });

  test('an abort before the prompt is computed ends all', async () => {
    const { engine } = testEngine({ limits: { maxNumBatchedTokens: 4 } });
    const group = engine.add(prompt(20), { ...params, n: 3 });
    await engine.step();
    engine.abort(group);
    expect(group.sequences.map(({ finishReason }) => finishReason)).toEqual(['abort', 'abort', 'abort']);
    expect(engine.scheduler.waiting.length).toBe(0);
    expect(engine.scheduler.blocks.numFreeBlocks).toBe(32);
    await engine.step();
    expect(engine.hasUnfinished).toBe(false);
  });
});

describe('best_of', () => {
  test('returns the n completions of the largest cumulative log-probability, best first', async () => {
    const { engine } = testEngine();
    const group = engine.add(prompt(9), { ...params, n: 2, bestOf: 4 });
    await drain(engine);
    const all = [0, 1, 2, 3].map(i => expected(9, i));
    const best = all.toSorted((a, b) => b.cumulativeLogprob - a.cumulativeLogprob).slice(0, 2);
    expect(group.sequences.map((_, i) => tokensOf(group, i))).toEqual(best.map(({ tokenIds }) => tokenIds));
    expect(group.sequences.map(({ index }) => index)).toEqual([0, 1]);
    expect(group.sequences.map(({ cumulativeLogprob }) => cumulativeLogprob)).toEqual(
      best.map(({ cumulativeLogprob }) => cumulativeLogprob),
    );
    expect(group.sequences[0]!.logprobs).toBeNull();
  });
});

test.each(requiredDevices())(
  'on %s, forks give what requests of their own give',
  async name => {
    const device = await openTestDevice(name);
    const engine = await tinyEngine(device, { enablePrefixCaching: false, maxNumSeqs: 4 });
    const shared = { temperature: 0.9, maxTokens: 7, ignoreEos: true };
    // Ten tokens in blocks of four: the third block is copied.
    const group = engine.add(prompt(10), { ...shared, n: 3, seed: 5 });
    await drain(engine);
    const single = [0, 1, 2].map(i => engine.add(prompt(10), { ...shared, seed: 5 + i }));
    await drain(engine);
    for (const [i, own] of single.entries()) expect(tokensOf(group, i)).toEqual(tokensOf(own));
    expect(new Set(single.map(own => tokensOf(own).join())).size).toBe(3);
    await engine.dispose();
  },
  120_000,
);
