/** The engine and the WebGPU backend in a real browser: built by Vite, run in a worker of headless Chromium. */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { build, type PreviewServer, preview } from 'vite';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { launchChromium } from './chromium.ts';
import type { Answer, Task } from './page/messages.ts';

const root = fileURLToPath(new URL('./page', import.meta.url));
const models = fileURLToPath(new URL('../../models', import.meta.url));
const errors: string[] = [];
let outDir: string;
let server: PreviewServer;
let browser: Browser;
let page: Page;

beforeAll(async () => {
  outDir = await mkdtemp(join(tmpdir(), 'quire-page-'));
  const config = {
    root,
    configFile: false as const,
    logLevel: 'error' as const,
    publicDir: models,
    resolve: { conditions: ['quire-source', 'browser', 'import', 'default'] },
    worker: { format: 'es' as const },
  };
  await build({ ...config, build: { outDir, emptyOutDir: true, target: 'es2022' } });
  server = await preview({ ...config, build: { outDir }, preview: { port: 0, host: '127.0.0.1' } });
  browser = await launchChromium();
  page = await browser.newPage();
  page.on('console', message => {
    if (message.type() === 'error') errors.push(message.text());
  });
  page.on('pageerror', error => errors.push(error.message));
  await page.goto(server.resolvedUrls!.local[0]!);
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
  await rm(outDir, { recursive: true, force: true });
});

function run(task: Task): Promise<Answer> {
  return page.evaluate(given => window.runTask(given), task);
}

it('generates the golden tokens of a trained checkpoint', async () => {
  const golden = JSON.parse(readFileSync(join(models, 'tiny-llama/golden.json'), 'utf8'));
  const capital = golden.cases.find((each: { name: string }) => each.name === 'capital');
  const files = [
    'config.json',
    'generation_config.json',
    'tokenizer.json',
    'tokenizer_config.json',
    'model.safetensors',
  ];
  const answer = await run({ kind: 'generate', folder: 'tiny-llama', files, prompt: capital.prompt });
  expect(answer).toMatchObject({ kind: 'generated', tokenIds: capital.tokenIds, text: capital.text });
  expect(errors).toEqual([]);
});

it('agrees with the reference device on the operations of a layer', async () => {
  const answer = await run({ kind: 'crosscheck', ops: ['rmsNorm', 'rope', 'kvWrite', 'pagedAttention', 'argmax'] });
  expect(answer).toMatchObject({ kind: 'crosschecked', failures: [] });
  expect(answer.kind === 'crosschecked' && answer.cases).toBeGreaterThan(100);
  expect(errors).toEqual([]);
});

it('keeps which kernels are the fastest beyond the life of the page', async () => {
  const first = await run({ kind: 'tune', change: null });
  const layer = 'linear f32 1024x1024';
  expect(first).toMatchObject({
    kind: 'tuned',
    kept: [{ [layer]: expect.stringMatching(/^(subgroup|columns|workgroup)$/) }],
  });
  const { kept } = first as Extract<Answer, { kind: 'tuned' }>;
  await page.reload();
  // What was kept is taken, also a way that lost, and is not timed again.
  const change = { from: kept[0]![layer]!, to: 'workgroup' };
  expect(await run({ kind: 'tune', change })).toEqual({
    kind: 'tuned',
    kept: [{ [layer]: 'workgroup' }],
    variants: ['linear/matvec[lanes_workgroup,weights_f32,input_plain]'],
  });
  expect(errors).toEqual([]);
});
