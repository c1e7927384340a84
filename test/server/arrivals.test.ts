/** The order and the pace in which requests begin. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { Arrivals } from '../../packages/server/src/serve/arrivals.ts';

/** As many requests, and which of them have begun. */
function arrive(arrivals: Arrivals, count: number, isGone: (i: number) => boolean = () => false): number[] {
  const begun: number[] = [];
  for (let i = 0; i < count; i++) void arrivals.turn(() => isGone(i)).then(() => begun.push(i));
  return begun;
}

it('lets requests begin in their order, some in each turn of the loop, and none at once', async () => {
  const begun = arrive(new Arrivals(), 100);
  await nextTurn();
  expect(begun).toEqual([]);
  let [most, before] = [0, 0];
  for (let turns = 0; turns < 100 && begun.length < 100; turns++) {
    await nextTurn();
    most = Math.max(most, begun.length - before);
    before = begun.length;
  }
  expect(begun).toEqual(Array.from({ length: 100 }, (_, i) => i));
  expect(most).toBeGreaterThan(1);
  expect(most).toBeLessThan(20);
});

it('spends no turn on those whose client has gone', async () => {
  const begun = arrive(new Arrivals(), 1000, i => i < 999);
  for (let turns = 0; turns < 4; turns++) await nextTurn();
  expect(begun.at(-1)).toBe(999);
});
