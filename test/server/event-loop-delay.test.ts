import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { EventLoopDelay } from '../../packages/server/src/metrics/event-loop-delay.ts';
import { until } from '../support/until.ts';

const WINDOW_MS = 300;
// Windows end when the test says so; the delay is real.
beforeEach(() => void vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] }));
afterEach(() => void vi.useRealTimers());

function block(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

it('tells how long the loop stood still, of the last whole window', async () => {
  const delay = new EventLoopDelay(WINDOW_MS);
  // The histogram counts from its first timer on.
  await until(() => delay.read().p50 > 0);
  block(150);
  await until(() => delay.read().max > 0.1 && delay.read().p50 < delay.read().max);
  vi.advanceTimersByTime(WINDOW_MS);
  expect(delay.read().max).toBeGreaterThan(0.1);
  expect(delay.read().p50).toBeLessThan(delay.read().max);
  // A window in which nothing was held up takes its place.
  vi.advanceTimersByTime(WINDOW_MS);
  expect(delay.read().max).toBeLessThan(0.1);
  delay.stop();
});
