/** What the demo page has shown, and what it is compared with. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { StepTrace } from '@quire/core';
import type { Page } from 'playwright-core';
import { readRecording } from '../../packages/demo/src/state/recording.ts';

const models = fileURLToPath(new URL('../../models', import.meta.url));

export interface Saved {
  readonly file: Buffer;
  /** Names of the requests that were sent. */
  readonly requests: readonly string[];
  readonly steps: readonly StepTrace[];
}

/** What happened since the page was emptied. Its first steps may hold requests of before, which were ended then. */
export async function savedTrace(opened: Page): Promise<Saved> {
  const [download] = await Promise.all([
    opened.waitForEvent('download'),
    opened.getByRole('button', { name: 'Save trace' }).click(),
  ]);
  const file = readFileSync(await download.path());
  const { events } = readRecording(file.toString());
  const requests = events.flatMap(([, event]) => (event.kind === 'request' ? [event.id] : []));
  const steps = events.flatMap(([, event]) => (event.kind === 'trace' ? [event.trace] : []));
  return { file, requests, steps };
}

export function phases(batch: StepTrace['batch']): Set<string> {
  return new Set(batch.map(({ phase }) => phase));
}

export function tokensOf(batch: StepTrace['batch']): number {
  return batch.reduce((sum, { numTokens }) => sum + numTokens, 0);
}

/** Milliseconds that an action in the page may take: the machine may be busy, and the adapter computes in software. */
export const PATIENCE = 120_000;

/** Of both canvases, as the last frame left them. */
export async function pictures(opened: Page): Promise<string[]> {
  return opened.evaluate(async () => {
    for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
    return [...document.querySelectorAll('canvas[role=img]')].map(canvas => (canvas as HTMLCanvasElement).toDataURL());
  });
}

declare global {
  interface Window {
    /** The largest values that were ever shown: of attributes of the pool and the batch, and of the number of cards that wait. */
    most: Record<string, number>;
  }
}

/** To be run in the page before its own scripts: keeps the largest of what is shown, however late anybody looks. */
export function watchLargest(): void {
  window.most = {};
  const keep = (name: string, value: number) => {
    if (value > (window.most[name] ?? 0)) window.most[name] = value;
  };
  new MutationObserver(() => {
    for (const { dataset } of document.querySelectorAll<HTMLElement>('[data-testid=pool], [data-testid=batch]')) {
      for (const [name, value] of Object.entries(dataset)) keep(`${dataset.testid} ${name}`, Number(value));
    }
    keep('waiting cards', document.querySelectorAll('.card[data-status=waiting]').length);
  }).observe(document, { subtree: true, childList: true, attributes: true });
}

/** The largest value that was shown under such a name; see watchLargest. */
export function largest(opened: Page, name: string): Promise<number> {
  return opened.evaluate(which => window.most[which] ?? 0, name);
}

/** Resolves when the scenario and every request have ended. */
export async function scenarioEnd(opened: Page): Promise<void> {
  await opened.waitForFunction(() => {
    const cards = [...document.querySelectorAll<HTMLElement>('.card')];
    const took = document.querySelector<HTMLElement>('[data-testid=took]')!;
    const haveEnded = cards.every(({ dataset }) => ['finished', 'failed'].includes(dataset.status!));
    return cards.length > 0 && haveEnded && took.dataset.running === 'false' && took.textContent !== '';
  });
}

export interface GoldenCase {
  readonly name: string;
  readonly prompt: string;
  readonly promptTokenIds: number[];
  readonly maxTokens: number;
  readonly tokenIds: number[];
  readonly text: string;
}

/** What PyTorch gave. */
export function goldenCases(model: string): GoldenCase[] {
  return (JSON.parse(readFileSync(join(models, model, 'golden.json'), 'utf8')) as { cases: GoldenCase[] }).cases;
}

export function goldenOf(model: string, name: string): GoldenCase {
  return goldenCases(model).find(each => each.name === name)!;
}
