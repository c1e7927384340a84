import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { EventLoopDelay } from '../../packages/server/src/metrics/event-loop-delay.ts';

function block(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

it('tells how long the loop stood still, of the last whole window', async () => {
  const delay = new EventLoopDelay(300);
  await sleep(50);
  block(150);
  await sleep(20);
  expect(delay.read().max).toBeGreaterThan(0.1);
  await sleep(300);
  expect(delay.read().max).toBeGreaterThan(0.1);
  expect(delay.read().p50).toBeLessThan(delay.read().max);
  // A window in which nothing was held up takes its place.
  await expect.poll(() => delay.read().max, { timeout: 20_000 }).toBeLessThan(0.1);
  delay.stop();
});
