/** The page as a server serves it: what it shows is what the server's engine counts. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTinyServer, type TinyServer } from '../server/tiny-server.ts';
import { launchChromium } from './chromium.ts';
import { PATIENCE } from './shown.ts';

let tiny: TinyServer;
let browser: Browser;
let page: Page;
const errors: string[] = [];

beforeAll(async () => {
  tiny = await startTinyServer({ ui: true, apiKeys: ['s3cret'], numGpuBlocksOverride: 64, maxModelLen: 384 });
  browser = await launchChromium();
  page = await browser.newPage({ locale: 'en-US', viewport: { width: 1280, height: 860 } });
  page.setDefaultTimeout(PATIENCE);
  page.on('console', message => {
    if (message.type() === 'error' && !message.text().includes('401')) errors.push(message.text());
  });
  page.on('pageerror', error => errors.push(error.message));
});

afterAll(async () => {
  await browser?.close();
  await tiny?.server.close(0);
});

const soon = <T>(look: () => Promise<T>) => expect.poll(look, { timeout: PATIENCE });

it('asks for the key, shows the steps, and chats', async () => {
  await page.goto(`${tiny.origin}/ui`);
  await page.getByLabel('API key').fill('s3cret');
  await page.getByRole('button', { name: 'Watch' }).click();
  await page.locator('.bar[data-status=ready]').waitFor();
  await soon(() => page.getByRole('tab').allTextContents()).toEqual(['Pages', 'Chat', 'API']);

  const messages = [{ role: 'user' as const, content: 'Tell me a story about a pig and a map.' }];
  const body = { model: 'tiny', messages, max_tokens: 128, n: 2, ignore_eos: true };
  const client = tiny.client.withOptions({ apiKey: 's3cret' });
  const other = client.chat.completions.stream(body);
  await other.emitted('content');
  // Two completions hold the blocks of one prompt until the page has shown it, however fast the engine and slow the page.
  tiny.server.engine.pause();
  const pool = page.getByTestId('pool');
  await soon(() => pool.getAttribute('data-shared').then(Number)).toBeGreaterThan(0);
  await page.getByRole('button', { name: 'Shared prefix' }).click();
  tiny.server.engine.resume();
  await soon(() => pool.getAttribute('data-total')).toBe('64');
  await soon(() => page.locator('.card[data-status=finished]').count()).toBe(9);
  const texts = await page.locator('.card').allTextContents();
  expect(texts.filter(text => text.includes('of another client'))).toHaveLength(1);
  expect(texts.filter(text => /The capital of \w+ is/.test(text)).length).toBeGreaterThanOrEqual(7);
  expect((await other.finalChatCompletion()).choices).toHaveLength(2);
  await soon(() => pool.getAttribute('data-used')).toBe('0');
  const { numSteps, prefixCacheHits, prefixCacheQueries } = tiny.server.engine.stats();
  await soon(() => page.locator('[data-figure=step]').textContent()).toBe(String(numSteps));
  const rate = `${Math.round((100 * prefixCacheHits) / prefixCacheQueries)} %`;
  await soon(() => page.locator('[data-figure="hit rate"]').textContent()).toBe(rate);

  await page.getByRole('tab', { name: 'Chat' }).click();
  await page.getByLabel('Message').fill('What is the capital of Japan?');
  await page.getByLabel('Message').press('Enter');
  await soon(() => page.locator('.assistant .text').textContent()).toBe('The capital of Japan is Tokyo.');
  await soon(() => page.locator('.assistant .phase').textContent()).toMatch(/prompt tokens in .* \d+ generated/);
  await page.getByRole('tab', { name: 'Pages' }).click();
  await page.getByRole('tab', { name: 'Chat' }).click();
  await soon(() => page.locator('.assistant .text').textContent()).toBe('The capital of Japan is Tokyo.');
  expect(errors).toEqual([]);
});
