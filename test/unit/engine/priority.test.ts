import { InvalidRequestError, type SamplingParams } from '@quire/core';
import { describe, expect, test } from 'vitest';
import { OVERTAKES_PER_LEVEL, rankOf } from '../../../packages/core/src/engine/priority.ts';
import { drain, prompt, type TestEngineOptions, testEngine } from './helpers.ts';

const greedy: SamplingParams = { temperature: 0, ignoreEos: true, maxTokens: 3 };
const oneAtATime: TestEngineOptions = { limits: { maxNumSeqs: 1 }, config: { schedulingPolicy: 'priority' } };

/** Labels of requests in the order in which they end. */
async function orderOf(requests: readonly [string, number][], options = oneAtATime): Promise<string[]> {
  const order: string[] = [];
  const observer = { onRequestFinished: ({ requestId }: { requestId: string }) => order.push(requestId) };
  const { engine } = testEngine({ ...options, observer });
  for (const [requestId, priority] of requests) engine.add(prompt(5), { ...greedy, priority }, { requestId });
  await drain(engine);
  return order;
}

describe('priority', () => {
  test('a lower number runs first, equal ones in order of arrival', async () => {
    const order = await orderOf([
      ['a', 2],
      ['b', 0],
      ['c', 1],
      ['d', 0],
      ['e', -1],
    ]);
    expect(order).toEqual(['e', 'b', 'd', 'c', 'a']);
  });

  test('of equal ranks the earlier arrival runs first, also when it comes back', () => {
    const { engine } = testEngine(oneAtATime);
    const early = engine.add(prompt(5), { ...greedy, priority: 0 }).sequences[0]!.request;
    for (let i = 1; i < OVERTAKES_PER_LEVEL; i++) engine.add(prompt(5), { ...greedy, priority: 0 });
    const late = engine.add(prompt(5), { ...greedy, priority: -1 }).sequences[0]!.request;
    expect(late.rank).toBe(early.rank);
    engine.scheduler.withdraw(early);
    engine.scheduler.requeue(early);
    expect([...engine.scheduler.waiting].slice(0, 2)).toEqual([early, late]);
  });

  test('a request ages: no more than a known number of later ones overtake it', async () => {
    const later = Array.from({ length: OVERTAKES_PER_LEVEL + 20 }, (_, i): [string, number] => [`${i}`, 0]);
    const order = await orderOf([['old', 1], ...later]);
    expect(order.indexOf('old')).toBe(OVERTAKES_PER_LEVEL - 1);
  });

  test('the victim of preemption is the one of the highest number, however early it came', async () => {
    const { engine } = testEngine({
      limits: { numBlocks: 9, blockSize: 4 },
      config: { schedulingPolicy: 'priority', enablePrefixCaching: false },
    });
    const groups = [5, 0, 1].map(priority => engine.add(prompt(7, priority), { ...greedy, maxTokens: 16, priority }));
    const waited = new Set<number>();
    while (engine.hasUnfinished) {
      await engine.step();
      for (const { status, params } of engine.scheduler.waiting)
        if (status === 'preempted') waited.add(params.priority);
    }
    expect(groups.every(group => group.isFinished)).toBe(true);
    expect(waited.has(5)).toBe(true);
    expect(waited.has(0)).toBe(false);
  });

  test('is refused where requests are served first come, first served', () => {
    const { engine } = testEngine();
    expect(() => engine.add(prompt(5), { ...greedy, priority: 1 })).toThrow(InvalidRequestError);
    expect(engine.add(prompt(5), { ...greedy, priority: 0 }).isFinished).toBe(false);
  });

  test('ranks stay exact and ordered at the ends of the range', () => {
    const most = Number.MAX_SAFE_INTEGER;
    expect(rankOf(-most, 7)).toBeLessThan(rankOf(-most, 8));
    expect(rankOf(most, 7)).toBeLessThan(rankOf(most, 8));
    expect(Number.isSafeInteger(rankOf(most, 1e12))).toBe(true);
  });
});

test('a watermark keeps blocks free for those that run', async () => {
  const run = async (watermark: number) => {
    const { engine } = testEngine({
      limits: { numBlocks: 11, blockSize: 4, maxNumSeqs: 8 },
      config: { watermark, enablePrefixCaching: false },
    });
    for (let i = 0; i < 8; i++) engine.add(prompt(7, i), { ...greedy, maxTokens: 9 });
    await drain(engine);
    return engine.stats().numPreemptions;
  };
  expect(await run(0.3)).toBeLessThan(await run(0));
});
