/** What the tests of the demo page do in it and read of it. */
import type { Page } from 'playwright-core';
import { expect } from 'vitest';
import { PATIENCE } from './shown.ts';

declare global {
  interface Window {
    /** When something moved by itself, in milliseconds, and how much. */
    shifts: [time: number, score: number][];
    readyAt: number;
  }
}

/** Notes what moves without having been asked to, as the layout-shift score of Web Vitals does. */
export function watchShifts(): void {
  window.shifts = [];
  new PerformanceObserver(list => {
    for (const entry of list.getEntries() as (PerformanceEntry & { value: number; hadRecentInput: boolean })[]) {
      if (!entry.hadRecentInput) window.shifts.push([entry.startTime, entry.value]);
    }
  }).observe({ type: 'layout-shift', buffered: true });
}

/** Nothing has moved since the engine was ready. */
export async function expectStill(opened: Page): Promise<void> {
  const shifts = await opened.evaluate(() => window.shifts.filter(([time]) => time > window.readyAt));
  expect(shifts.reduce((sum, [, score]) => sum + score, 0)).toBeLessThan(0.02);
}

/** Resolves when the engine takes requests, and the page shows so. */
export async function untilReady(opened: Page): Promise<void> {
  await opened.locator('.bar[data-status=ready]').waitFor();
  await opened.evaluate(async () => {
    for (let i = 0; i < 2; i++) window.readyAt = await new Promise(requestAnimationFrame);
  });
}

/** Slow: what is sent runs for many seconds, so that it is met while it does. */
export async function atSpeed(opened: Page, speed: 'Slow' | 'Watch' | 'Full'): Promise<void> {
  await opened.getByLabel('Speed', { exact: true }).first().selectOption(speed);
}

export const soon = <T>(look: () => Promise<T>) => expect.poll(look, { timeout: PATIENCE });

export async function figure(opened: Page, name: string): Promise<string> {
  return (await opened.locator(`[data-figure="${name}"]`).textContent())!;
}
