/** The demo page in a real browser: what it shows is what the engine counts. */
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { build, type PreviewServer, preview } from 'vite';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { launchChromium } from './chromium.ts';
import { atSpeed, expectStill, figure, soon, untilReady, watchShifts } from './demo-page.ts';
import { ModelServer } from './model-server.ts';
import {
  goldenCases,
  goldenOf,
  largest,
  PATIENCE,
  phases,
  pictures,
  type Saved,
  savedTrace,
  scenarioEnd,
  tokensOf,
  watchLargest,
} from './shown.ts';

const root = fileURLToPath(new URL('../../packages/demo', import.meta.url));
const models = fileURLToPath(new URL('../../models', import.meta.url));
const configFile = join(root, 'vite.config.ts');
/** Browsers offer WebGPU to secure pages and to localhost alone. */
const INSECURE_HOST = 'quire.test';
/** `npm run test:browser:full`: also what takes minutes. */
const isFull = process.env.QUIRE_BROWSER === 'full';
const errors: string[] = [];

let outDir: string;
let server: PreviewServer;
let browser: Browser;
let page: Page | undefined;

beforeAll(async () => {
  outDir = await mkdtemp(join(tmpdir(), 'quire-demo-'));
  await build({ root, configFile, logLevel: 'error', build: { outDir, emptyOutDir: true } });
  server = await preview({
    root,
    configFile,
    logLevel: 'error',
    build: { outDir },
    preview: { port: 0, host: '127.0.0.1', allowedHosts: [INSECURE_HOST] },
  });
  browser = await launchChromium([`--host-resolver-rules=MAP ${INSECURE_HOST} 127.0.0.1`]);
});

afterEach(async () => {
  await page?.close();
  page = undefined;
  expect(errors.splice(0)).toEqual([]);
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
  await rm(outDir, { recursive: true, force: true });
});

/** Opens the page; `hash` is what its address says. */
async function open(hash: string, host = '127.0.0.1'): Promise<Page> {
  page = await browser.newPage({ locale: 'en-US', viewport: { width: 1280, height: 860 } });
  page.setDefaultTimeout(PATIENCE);
  page.on('console', message => {
    if (message.type() === 'error') errors.push(message.text());
  });
  page.on('pageerror', error => errors.push(error.message));
  await page.addInitScript(watchShifts);
  await page.addInitScript(watchLargest);
  await page.goto(`${server.resolvedUrls!.local[0]!.replace('127.0.0.1', host)}#${hash}`);
  return page;
}

async function ready(hash: string): Promise<Page> {
  const opened = await open(hash);
  await untilReady(opened);
  return opened;
}

describe('scenarios, on the reference device', () => {
  it('shows the blocks of a shared prefix once, held by many', async () => {
    const opened = await ready('device=reference&scenario=prefix');
    await scenarioEnd(opened);
    expect(await largest(opened, 'pool shared')).toBeGreaterThanOrEqual(8);
    expect(await largest(opened, 'pool used')).toBeLessThan(40);
    await soon(async () => Number.parseInt(await figure(opened, 'hit rate'), 10)).toBeGreaterThan(60);
    await soon(() => opened.locator('.card[data-status=finished]').count()).toBe(8);
    const text = await opened.locator('.card[data-request="1"] .text').textContent();
    expect(text).toMatch(/^The capital of Japan is /);
    await expectStill(opened);
    // The same arrivals in static batches, whose time stands beside.
    await atSpeed(opened, 'Full');
    await opened.getByLabel('Batching').selectOption('static');
    await opened.getByRole('button', { name: 'Shared prefix' }).click();
    await soon(() => opened.getByTestId('took').textContent()).toMatch(/^continuous took .* s, static took .* m?s$/);
    expect(new URL(opened.url()).hash).toBe('#scenario=prefix&device=reference');
  });

  it('shows copy on write where the samples of a prompt diverge', async () => {
    const opened = await ready('device=reference&scenario=fork');
    await scenarioEnd(opened);
    expect(await largest(opened, 'pool shared')).toBeGreaterThanOrEqual(8);
    expect(await largest(opened, 'pool copies')).toBeGreaterThan(0);
    await soon(() => opened.locator('.card .completion').count()).toBe(4);
    await expectStill(opened);
  });

  it('preempts under pressure, and ends every request', async () => {
    const opened = await ready('device=reference&scenario=pressure');
    await soon(() => largest(opened, 'batch waiting')).toBeGreaterThan(0);
    await atSpeed(opened, 'Full');
    await scenarioEnd(opened);
    await soon(async () => Number(await figure(opened, 'preempted'))).toBeGreaterThan(0);
    await soon(() => opened.locator('.card[data-status=finished]').count()).toBe(10);
    await expectStill(opened);
  });

  it('computes long prompts in chunks beside the streams, and admits a burst as far as there is room', async () => {
    const opened = await ready('device=reference&scenario=mixed&blocks=128&seqs=16');
    await soon(() => opened.getByTestId('pool').getAttribute('data-total')).toBe('128');
    const third = opened.locator('.card[data-request="3"]');
    await soon(() => third.getAttribute('data-status')).toMatch(/^(decode|finished)$/);
    let mixed: Saved['steps'] = [];
    await soon(async () => {
      mixed = (await savedTrace(opened)).steps.filter(({ batch }) => phases(batch).size === 2);
      return mixed.some(({ batch }) => batch.some(({ phase, start }) => phase === 'prefill' && start > 0));
    }).toBe(true);
    for (const { batch, sequences } of mixed) {
      const streaming = sequences.filter(
        ({ status, numTokens, numPromptTokens }) => status === 'running' && numTokens > numPromptTokens + 1,
      );
      const decoding = batch.filter(({ phase }) => phase === 'decode').map(({ requestId }) => requestId);
      expect(decoding).toEqual(expect.arrayContaining(streaming.map(({ requestId }) => requestId)));
      expect(tokensOf(batch)).toBeLessThanOrEqual(64);
    }

    await opened.getByRole('button', { name: 'Burst' }).click();
    // Those of the scenario before may wait too: only a burst has more than ten.
    await soon(() => largest(opened, 'waiting cards')).toBeGreaterThan(10);
    await atSpeed(opened, 'Full');
    await soon(() => opened.locator('.card[data-status=waiting]').count()).toBe(0);
    const { requests, steps } = await savedTrace(opened);
    const running = steps.map(({ sequences }) => sequences.filter(({ status }) => status === 'running').length);
    expect(Math.max(...steps.map(({ sequences }, i) => sequences.length - running[i]!))).toBeGreaterThan(10);
    expect(Math.max(...running)).toBe(16);
    const firstSteps = requests.map(id =>
      steps.findIndex(({ batch }) => batch.some(({ requestId }) => requestId === id)),
    );
    expect(firstSteps).toHaveLength(30);
    expect(firstSteps).not.toContain(-1);
    // Steps that admit several.
    expect(new Set(firstSteps).size).toBeLessThan(30);
    expect(steps.some(({ batch }) => phases(batch).size === 2)).toBe(true);
    expect(Math.max(...steps.map(({ batch }) => tokensOf(batch)))).toBeLessThanOrEqual(64);
  });
});

describe('the controls', () => {
  it('pauses, steps and looks back', async () => {
    const opened = await ready('device=reference');
    await atSpeed(opened, 'Slow');
    await opened.getByRole('button', { name: 'Pause' }).click();
    await opened.getByRole('button', { name: 'Fork' }).click();
    const step = opened.getByRole('button', { name: 'One step' });
    for (let i = 1; i <= 4; i++) {
      await step.click();
      await soon(() => figure(opened, 'step')).toBe(String(i));
    }
    const pool = opened.getByTestId('pool');
    await pool.focus();
    await opened.keyboard.press('ArrowRight');
    await opened.keyboard.press('ArrowRight');
    await soon(() => opened.getByTestId('block').textContent()).toMatch(
      /^Block 2: held 4 times, by request 1; 16 of 16/,
    );
    await pool.hover({ position: { x: 12, y: 12 } });
    await soon(() => opened.getByTestId('block').textContent()).toMatch(/^Block 1: held 4 times/);
    await soon(() => opened.locator('.table li.lit').allTextContents()).toEqual(['1', '1', '1', '1']);
    // What was drawn step by step is what is drawn at once: another colour scheme empties the canvases.
    const drawn = await pictures(opened);
    await opened.emulateMedia({ colorScheme: 'dark' });
    await soon(() => pictures(opened)).not.toEqual(drawn);
    await opened.emulateMedia({ colorScheme: 'light' });
    await soon(() => pictures(opened)).toEqual(drawn);
    const look = opened.getByLabel('Look back');
    await look.fill('0');
    await soon(() => figure(opened, 'step')).toBe('1');
    await opened.locator('body').press(' ');
    await soon(async () => Number(await figure(opened, 'step'))).toBeGreaterThan(5);
    await opened.getByRole('button', { name: 'Cancel request 1' }).click();
    await soon(() => opened.locator('.card .phase').first().textContent()).toContain('cancelled');
  });

  it('saves a trace that is replayed without an engine', async () => {
    const opened = await ready('device=reference');
    await opened.getByLabel('Your own prompt').fill('What is 7 plus 5?');
    await opened.getByRole('button', { name: 'Send' }).click();
    await opened.locator('.card[data-status=finished]').waitFor();
    let saved = await savedTrace(opened);
    const lastStep = () => String(saved.steps.at(-1)!.step);
    await soon(async () => {
      saved = await savedTrace(opened);
      return (await figure(opened, 'step')) === lastStep();
    }).toBe(true);
    const { file: buffer } = saved;
    await opened.close();
    const other = await open('device=webgpu', INSECURE_HOST);
    await other.getByTestId('failed').waitFor();
    await other.getByLabel('Replay trace').setInputFiles({ name: 'trace.json', mimeType: 'application/json', buffer });
    await other.locator('.card[data-status=finished]').waitFor();
    await soon(() => other.locator('.card .text').textContent()).toBe('7 plus 5 is 12.');
    await soon(() => figure(other, 'step')).toBe(lastStep());
    await other
      .getByLabel('Replay trace')
      .setInputFiles({ name: 'a.json', mimeType: 'application/json', buffer: Buffer.from('{}') });
    await soon(() => other.getByRole('alert').last().textContent()).toContain('"format" is not "quire-trace"');
  });
});

describe('chat', () => {
  it('answers with the golden text, stops, and begins again', async () => {
    const capital = goldenOf('tiny-llama', 'capital');
    const opened = await ready('device=reference');
    await opened.getByRole('tab', { name: 'Chat' }).click();
    await opened.getByLabel('Message').fill('What is the capital of Japan?');
    await opened.getByLabel('Message').press('Enter');
    const answer = opened.locator('.assistant .text');
    await soon(() => answer.textContent()).toBe(capital.text);
    await soon(() => opened.locator('.assistant .phase').textContent()).toMatch(/tokens\/s; \d+ generated/);
    await atSpeed(opened, 'Slow');
    await opened.getByLabel('Message').fill('Tell me a story about a pig and a map.');
    await opened.getByRole('button', { name: 'Send' }).click();
    await opened.getByRole('button', { name: 'Stop' }).click();
    await soon(() => opened.locator('.assistant .phase').last().textContent()).toContain('stopped');
    await atSpeed(opened, 'Full');
    await opened.getByRole('button', { name: 'Again' }).click();
    await soon(() => opened.locator('.assistant').last().textContent()).toContain('pig');
    await soon(() => opened.locator('.user').count()).toBe(2);
    // A scenario empties the list of requests, not the conversation; it ends an answer that is being made.
    await opened.getByLabel('Message').fill('Tell me a story.');
    await soon(() => opened.getByRole('button', { name: 'Send' }).isEnabled()).toBe(true);
    await atSpeed(opened, 'Slow');
    await opened.getByRole('button', { name: 'Send' }).click();
    await opened.getByRole('tab', { name: 'Pages' }).click();
    await opened.getByRole('button', { name: 'Fork' }).click();
    await soon(() => opened.locator('.card .completion').count()).toBe(4);
    await opened.getByRole('tab', { name: 'Chat' }).click();
    await soon(() => opened.locator('.user').count()).toBe(3);
    await soon(() => answer.first().textContent()).toBe(capital.text);
    await soon(() => opened.locator('.assistant .phase').last().textContent()).toContain('stopped');
    await atSpeed(opened, 'Watch');
    await opened.getByRole('button', { name: 'New chat' }).click();
    await opened.getByText('Sampling and system prompt').click();
    await opened.getByLabel('System prompt').fill('You are a kind and patient teacher. '.repeat(4));
    await opened.getByLabel('Most tokens').fill('8');
    await opened.getByLabel('Message').fill('Tell me a story.');
    await opened.getByRole('button', { name: 'Send' }).click();
    const phase = opened.locator('.assistant .phase');
    await soon(() => phase.allTextContents()).toEqual([expect.stringMatching(/; 8 generated, .*; cut at the limit/)]);
    expect(Number.parseInt((await phase.textContent())!, 10)).toBeGreaterThan(50);
  });
});

describe('cross-check', () => {
  it('is green on the adapter, and red once block tables are broken', async () => {
    const opened = await open('tab=crosscheck&device=reference');
    await opened.getByLabel('Operation').selectOption('prepareInputs');
    const row = opened.locator('tr[data-op=prepareInputs]');
    const summary = opened.getByTestId('crosscheck-summary');
    await opened.getByRole('button', { name: 'Run' }).click();
    await soon(() => summary.textContent()).toMatch(/\d+ cases, 0 failed/);
    await soon(() => row.getAttribute('data-status')).toBe('passed');
    await opened.getByRole('button', { name: 'Break it' }).click();
    await soon(() => summary.textContent()).toContain('were noticed');
    await soon(() => row.getAttribute('data-status')).toBe('failed');
  });

  const opsWithTables = ['prepareInputs', 'pagedAttention'];
  it.runIf(isFull)(
    'is green for every operation, and red once broken, beside what CUDA gave',
    { timeout: 1_200_000 },
    async () => {
      const opened = await open('tab=crosscheck&device=reference');
      const summary = opened.getByTestId('crosscheck-summary');
      const statuses = () =>
        opened.locator('tr[data-op]').evaluateAll(rows => rows.map(row => (row as HTMLElement).dataset));
      const ended = (text: RegExp) => expect.poll(() => summary.textContent(), { timeout: 600_000 }).toMatch(text);
      await opened.getByRole('button', { name: 'Run' }).click();
      await ended(/cases, \d+ failed$/);
      const green = await statuses();
      console.log(await summary.textContent());
      expect(green.length).toBeGreaterThan(30);
      expect(green.filter(({ status }) => status !== 'passed')).toEqual([]);
      await soon(() => opened.locator('tr[data-op] td:last-child').filter({ hasText: 'none' }).count()).toBe(0);
      await opened.getByRole('button', { name: 'Break it' }).click();
      await ended(/were noticed$/);
      console.log(await summary.textContent());
      const red = (await statuses()).filter(({ status }) => status === 'failed').map(({ op }) => op);
      expect(red).toEqual(expect.arrayContaining(opsWithTables));
    },
  );
});

describe("OpenAI's API in the tab", () => {
  it('answers the official client, whole and streamed', async () => {
    const { output } = (await build({
      configFile: false,
      logLevel: 'error',
      build: {
        write: false,
        lib: { entry: join(import.meta.dirname, 'page/openai-client.ts'), formats: ['iife'], name: 'client' },
      },
    }).then(built => (Array.isArray(built) ? built[0] : built))) as { output: { code: string }[] };
    const opened = await ready('tab=api&device=reference');
    await opened.addScriptTag({ content: output[0]!.code });
    const answers = await opened.evaluate(async () => {
      const client = new window.OpenAI({
        baseURL: `${location.origin}/v1`,
        apiKey: 'none',
        dangerouslyAllowBrowser: true,
      });
      const messages = [{ role: 'user' as const, content: 'What is the capital of Japan?' }];
      const request = { model: 'tiny-llama', messages, temperature: 0 };
      const whole = await client.chat.completions.create(request);
      let streamed = '';
      for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) {
        streamed += chunk.choices[0]?.delta.content ?? '';
      }
      const wrong = await client.chat.completions.create({ ...request, model: 'gpt-4' }).catch(error => error.status);
      return { whole: whole.choices[0]!.message.content, streamed, wrong };
    });
    const text = 'The capital of Japan is Tokyo.';
    expect(answers).toEqual({ whole: text, streamed: text, wrong: 404 });
    expect(errors.splice(0).filter(error => !error.includes('404'))).toEqual([]);
    await opened.getByRole('button', { name: 'Send this request' }).click();
    await soon(() => opened.getByTestId('api-answer').textContent()).toContain('data: [DONE]');
  });
});

describe('a folder of this machine', () => {
  it('is read where it is, and goes on with a text where it has no chat template', async () => {
    const golden = goldenOf('tiny-opt', 'brave-cat');
    const folder = join(outDir, 'tiny-opt');
    const { chat_template: _, ...config } = JSON.parse(readFileSync(join(folder, 'tokenizer_config.json'), 'utf8'));
    writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify(config));
    const opened = await ready('tab=models&device=reference');
    await opened.getByLabel('Model folder').setInputFiles(folder);
    await soon(() => opened.getByTestId('model-facts').textContent()).toContain('tiny-opt (OPTForCausalLM)');
    await atSpeed(opened, 'Full');
    await opened.getByRole('tab', { name: 'Chat' }).click();
    await soon(() => opened.locator('.empty').textContent()).toContain('no chat template');
    await opened.getByRole('tab', { name: 'Pages' }).click();
    await opened.getByLabel('Your own prompt').fill(golden.prompt);
    await opened.getByRole('button', { name: 'Send' }).click();
    await opened.locator('.card[data-status=finished]').waitFor();
    const shown = async () => (await opened.locator('.card .text').textContent())!;
    await soon(async () => (await shown()).length).toBeGreaterThan(100);
    const text = await shown();
    expect(golden.text.startsWith(text)).toBe(true);
  });
});

describe('a model behind an address', () => {
  it('goes on with a broken download, and is there the next time', async () => {
    const files = await ModelServer.open(join(models, 'tiny-llama'));
    try {
      const opened = await ready('tab=models&device=reference');
      const failed = opened.getByTestId('failed');
      const load = async () => {
        await opened.getByLabel('Address of a model').fill(files.url);
        await opened.locator('form').getByRole('button', { name: 'Load' }).click();
      };
      files.claimedBytes = 2 ** 45;
      await load();
      await soon(() => failed.textContent()).toMatch(/32768.00 GiB of weights are to be fetched, and this browser/);
      files.claimedBytes = null;
      expect(files.requests.filter(request => /^GET model.safetensors(?!\.)/.test(request))).toEqual([]);
      files.breakAfter = 1_000_000;
      await load();
      const received = () => opened.locator('progress').evaluate(bar => (bar as HTMLProgressElement).value);
      await soon(received).toBe(files.breakAfter);
      files.breakOff();
      await soon(() => failed.textContent()).toMatch(/broke at 1000000 bytes.*go on from there/);
      // The header, for the memory plan, before the weights.
      const got = files.requests.filter(request => /^GET model.safetensors(?!\.)/.test(request));
      expect(got.at(-1)).toBe('GET model.safetensors');
      expect(got[0]).toBe('GET model.safetensors bytes=0-7');
      expect(got.slice(0, -1).filter(request => !/ bytes=\d+-\d{1,4}$/.test(request))).toEqual([]);
      errors.splice(0);
      files.breakAfter = null;
      files.requests.length = 0;
      await load();
      await soon(() => opened.getByTestId('model-facts').textContent()).toContain(files.url);
      expect(files.requests).toContain('GET model.safetensors bytes=1000000-');
      files.requests.length = 0;
      await load();
      await opened.locator('.models dl').waitFor({ state: 'detached' });
      await soon(() => opened.getByTestId('model-facts').textContent()).toContain(files.url);
      expect(files.requests.filter(request => /^GET model.safetensors(?!\.)/.test(request))).toEqual([]);
      errors.splice(0);
      const stored = opened.getByTestId('stored-models');
      await soon(() => stored.textContent()).toMatch(new RegExp(`${files.url}/?4\\.\\d MiB`));
      const remove = opened.getByRole('button', { name: /^Remove/ });
      await remove.click();
      await soon(() => opened.getByRole('alert').textContent()).toContain('is in use');
      await opened.getByRole('button', { name: 'tiny-llama' }).click();
      await soon(() => opened.getByTestId('model-facts').textContent()).toContain('modeltiny-llama');
      await remove.click();
      await stored.waitFor({ state: 'detached' });
    } finally {
      await files.close();
    }
  });
});

describe('the page', () => {
  it('fits 390 pixels, is explained by keys alone, and moves nothing where that is not wanted', async () => {
    const opened = await ready('device=reference');
    await opened.emulateMedia({ reducedMotion: 'reduce', colorScheme: 'dark' });
    await opened.setViewportSize({ width: 390, height: 844 });
    for (const name of ['Chat', 'Cross-check', 'Model', 'API', 'Pages']) {
      await opened.getByRole('tab', { name, exact: true }).click();
      expect(await opened.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
    }
    await soon(() => opened.evaluate(() => document.getAnimations().length)).toBe(0);
    await opened.getByRole('button', { name: 'What is what?' }).focus();
    await opened.keyboard.press('Enter');
    const heading = opened.locator('#tour-title');
    for (const number of [1, 2, 3, 4, 5]) {
      await soon(() => heading.textContent()).toContain(`(${number} of 5)`);
      await soon(() => opened.locator('.explained').count()).toBe(1);
      await opened.keyboard.press('ArrowRight');
    }
    await opened.keyboard.press('Escape');
    await heading.waitFor({ state: 'detached' });
    await soon(() => opened.locator('.explained').count()).toBe(0);
  });
});

describe('devices', () => {
  it('gives the greedy tokens of Node for every golden prompt', async () => {
    const golden = goldenCases('tiny-llama');
    const opened = await ready('device=webgpu&blocks=256');
    await soon(() => opened.getByTestId('software').textContent()).toContain('computes in software');
    await atSpeed(opened, 'Full');
    const tokens = await opened.evaluate(
      cases =>
        Promise.all(
          cases.map(async ({ promptTokenIds: prompt, maxTokens: max_tokens }) => {
            const body = JSON.stringify({ prompt, max_tokens, temperature: 0, return_token_ids: true });
            const headers = { 'content-type': 'application/json' };
            const response = await fetch('/v1/completions', { method: 'POST', headers, body });
            return (await response.json()).choices[0].token_ids as number[];
          }),
        ),
      golden,
    );
    expect(tokens).toEqual(golden.map(each => each.tokenIds));
  });

  it('runs on WebGPU, and loses no request with the device', async () => {
    const opened = await ready('device=webgpu');
    await atSpeed(opened, 'Slow');
    await opened.getByLabel('Your own prompt').fill('Tell me a story about a pig and a map.');
    await opened.getByRole('button', { name: 'Send' }).click();
    await soon(async () => Number(await figure(opened, 'step'))).toBeGreaterThan(3);
    await opened.getByRole('button', { name: 'Lose the GPU' }).click();
    await atSpeed(opened, 'Full');
    await opened.getByTestId('recovered').waitFor();
    await opened.locator('.card[data-status=finished]').waitFor();
    const pig = goldenOf('tiny-llama', 'pig-map');
    const text = (await opened.locator('.card .text').textContent())!;
    expect(text.startsWith(pig.text)).toBe(true);
  });

  it('says what is missing where there is no WebGPU, and works all the same', async () => {
    const opened = await open('', INSECURE_HOST);
    await soon(() => opened.getByTestId('device-notice').textContent()).toContain('offers no WebGPU');
    await opened.locator('.bar[data-status=ready]').waitFor();
  });
});
