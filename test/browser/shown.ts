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

/** Of both canvases, as the last frame left them. */
export async function pictures(opened: Page): Promise<string[]> {
  return opened.evaluate(async () => {
    for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
    return [...document.querySelectorAll('canvas[role=img]')].map(canvas => (canvas as HTMLCanvasElement).toDataURL());
  });
}

/** The largest value that an attribute of an element takes until every request has ended. */
export async function largest(opened: Page, selector: string, attributes: readonly string[]): Promise<number[]> {
  return opened.evaluate(
    ([at, names]) =>
      new Promise<number[]>(resolve => {
        const most = names.map(() => 0);
        const look = () => {
          const element = document.querySelector<HTMLElement>(at)!;
          for (const [i, name] of names.entries()) most[i] = Math.max(most[i]!, Number(element.dataset[name]));
          const cards = [...document.querySelectorAll<HTMLElement>('.card')];
          const ended =
            cards.length > 0 && cards.every(({ dataset }) => ['finished', 'failed'].includes(dataset.status!));
          const took = document.querySelector<HTMLElement>('[data-testid=took]')!;
          if (ended && took.dataset.running === 'false' && took.textContent !== '') resolve(most);
          else setTimeout(look, 10);
        };
        look();
      }),
    [selector, attributes] as const,
  );
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
