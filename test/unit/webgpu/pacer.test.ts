/** How long Node sleeps before it asks a device that computes for a while, on a clock of its own. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { AdaptivePacer } from '../../../packages/backend-webgpu/src/node-pacer.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'performance'] }));
afterEach(() => void vi.useRealTimers());

/** Milliseconds that the pacer slept before it asked for work that took `took`. */
async function slept(pacer: AdaptivePacer, tokens: number, took: number): Promise<number> {
  pacer.queued(tokens);
  const start = performance.now();
  let asked = Number.NaN;
  const wait = pacer.around(() => {
    asked = performance.now();
    return new Promise(resolve => setTimeout(resolve, Math.max(0, start + took - asked)));
  });
  await vi.runAllTimersAsync();
  await wait;
  return asked - start;
}

it('sleeps through most of what the same amount of work took before', async () => {
  const pacer = new AdaptivePacer();
  // The first wait compiles, the second is learned from.
  expect(await slept(pacer, 512, 2000)).toBe(0);
  expect(await slept(pacer, 512, 400)).toBe(0);
  expect(await slept(pacer, 600, 400)).toBe(320);
  // Decoding is expected to take what decoding took.
  expect(await slept(pacer, 1, 50)).toBe(0);
  expect(await slept(pacer, 1, 5)).toBe(0);
  expect(await slept(pacer, 1, 5)).toBe(4);
});

it('sleeps half as long after each wait that was over before', async () => {
  const pacer = new AdaptivePacer();
  for (let i = 0; i < 2; i++) await slept(pacer, 1, 400);
  const sleeps = [];
  for (let i = 0; i < 6; i++) sleeps.push(await slept(pacer, 1, 20));
  // The last wait was not over before: the next one follows it by a part.
  expect(sleeps).toEqual([320, 128, 51, 20, 8, 9]);
});
