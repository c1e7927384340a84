/** The dashboard: its page, and the steps that it shows, which cross from the engine while somebody watches. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { StepTrace } from '@quire/core';
import { afterEach, describe, expect, it } from 'vitest';
import { readPage } from '../../packages/server/src/dashboard/page-files.ts';
import { type OpenProcess, openProcess } from './engine-process-fixture.ts';
import { startTinyServer, type TinyServer } from './tiny-server.ts';

const servers: TinyServer[] = [];
const processes: OpenProcess[] = [];
afterEach(async () => {
  for (const { server } of servers.splice(0)) await server.close(0);
  for (const { engine } of processes.splice(0)) await engine.dispose();
});

async function start(options: Parameters<typeof startTinyServer>[0] = {}): Promise<TinyServer> {
  const tiny = await startTinyServer({ ui: true, numGpuBlocksOverride: 64, maxModelLen: 256, ...options });
  servers.push(tiny);
  return tiny;
}

/** The events of a stream, as they come. */
class Steps {
  readonly events: { event: string; data: Record<string, unknown> }[] = [];
  readonly over: Promise<void>;
  readonly #abort = new AbortController();

  constructor(response: Response) {
    this.over = this.#read(response).catch(() => {});
  }

  static async open(origin: string, headers: Record<string, string> = {}): Promise<Steps> {
    return new Steps(await fetch(`${origin}/debug/steps`, { headers }));
  }

  get traces(): StepTrace[] {
    return this.events.filter(({ event }) => event === 'trace').map(({ data }) => data as unknown as StepTrace);
  }

  close(): void {
    this.#abort.abort();
  }

  async #read(response: Response): Promise<void> {
    let text = '';
    const body = response.body!.pipeThrough(new TextDecoderStream(), { signal: this.#abort.signal });
    for await (const part of body) {
      const whole = (text + part).split('\n\n');
      text = whole.pop()!;
      for (const each of whole) {
        const [event = '', data = ''] = each.split('\n');
        this.events.push({ event: event.slice(7), data: JSON.parse(data.slice(6)) });
      }
    }
  }
}

const ask = (content: string) => ({
  model: 'tiny',
  messages: [{ role: 'user' as const, content }],
  temperature: 0,
  max_tokens: 24,
});

describe('the steps of a server', () => {
  it('are told while requests run, and end where nothing is held', async () => {
    const { origin, client } = await start();
    const steps = await Steps.open(origin);
    const question = ask('What is the capital of Japan?');
    const answers = await Promise.all(
      Array.from({ length: 3 }, () => client.chat.completions.create(question).withResponse()),
    );
    for (const { data } of answers) expect(data.choices[0]!.message.content).toBe('The capital of Japan is Tokyo.');
    await expect.poll(() => steps.traces.at(-1)?.sequences).toEqual([]);
    const [hello] = steps.events;
    expect(hello).toMatchObject({ event: 'engine', data: { model: 'tiny', deviceKind: 'reference', numBlocks: 65 } });
    const seen = steps.traces.flatMap(({ sequences }) => sequences);
    const names = answers.map(({ response }) => response.headers.get('x-request-id'));
    expect(new Set(seen.map(({ requestId }) => requestId))).toEqual(new Set(names));
    const { pool, counters } = steps.traces.at(-1)!;
    expect(pool.refCounts).toHaveLength(65);
    expect(pool.refCounts.every((count: number) => count === 0)).toBe(true);
    expect(counters.generationTokens).toBeGreaterThan(20);
    steps.close();
  });

  it('need a key, where the server has one; the page does not', async () => {
    const { origin } = await start({ apiKeys: ['k'] });
    expect((await fetch(`${origin}/debug/steps`)).status).toBe(401);
    const page = await fetch(`${origin}/ui`);
    expect([page.status, page.url]).toEqual([200, `${origin}/ui/`]);
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
    const html = await page.text();
    const script = /src="\.\/(assets\/[\w.-]+\.js)"/.exec(html)![1];
    const asset = await fetch(`${origin}/ui/${script}`);
    expect([asset.status, asset.headers.get('cache-control')]).toEqual([200, 'public, max-age=31536000, immutable']);
    expect((await fetch(`${origin}/ui/../package.json`)).status).toBe(401);
    const steps = await Steps.open(origin, { authorization: 'Bearer k' });
    await expect.poll(() => steps.events.length).toBeGreaterThan(0);
    steps.close();
  });

  it('are for four clients at a time, and end when the server drains', async () => {
    const { origin, server } = await start();
    const open = await Promise.all(Array.from({ length: 4 }, () => Steps.open(origin)));
    const fifth = await fetch(`${origin}/debug/steps`);
    expect(fifth.status).toBe(503);
    expect(((await fifth.json()) as { error: { code: string } }).error.code).toBe('too_many_watchers');
    open.pop()!.close();
    await expect.poll(async () => (await fetch(`${origin}/debug/steps`, { method: 'GET' })).status).toBe(200);
    const started = performance.now();
    await server.close(120_000);
    await Promise.all(open.map(({ over }) => over));
    expect(performance.now() - started).toBeLessThan(60_000);
    servers.length = 0;
  });

  it('are not there without --ui', async () => {
    const { origin } = await start({ ui: false });
    for (const path of ['/ui', '/ui/', '/debug/steps']) expect((await fetch(origin + path)).status).toBe(404);
  });

  it('are refused where the page was not built', async () => {
    await expect(readPage('/nowhere')).rejects.toMatchObject({
      option: 'ui',
      message: expect.stringContaining('npm run build'),
    });
  });
});

describe('an engine in a process of its own', () => {
  it('sends steps while they are watched, also after it was replaced', async () => {
    const traces: StepTrace[] = [];
    const onTrace = (json: string) => void traces.push(JSON.parse(json));
    const opened = await openProcess([{ frame: 40 }], {}, { onTrace });
    processes.push(opened);
    const run = async () => {
      for await (const _ of opened.engine.generate('The dog', { temperature: 0, maxTokens: 24, ignoreEos: true }));
    };
    await run();
    expect(traces).toEqual([]);
    opened.engine.watchSteps(true);
    await run();
    await expect.poll(() => traces.at(-1)?.sequences).toEqual([]);
    expect(traces[0]!.pool.refCounts).toHaveLength(257);
    traces.length = 0;
    while (opened.numStarted() < 2) await run();
    await run();
    await expect.poll(() => traces.at(-1)?.sequences).toEqual([]);
    expect(traces.at(-1)!.counters.generationTokens).toBeLessThan(200);
    opened.engine.watchSteps(false);
    await run();
    traces.length = 0;
    await run();
    await sleep(100);
    expect(traces).toEqual([]);
  });
});
