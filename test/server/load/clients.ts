/** Clients that put a server under load, and what they tell. */
import { type ChildProcess, fork } from 'node:child_process';
import { Agent, type IncomingMessage, request } from 'node:http';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import type { FrontEnd, FrontEndUse } from '../../../packages/server/src/bench/serve/front-end.ts';

/** Whether the whole load is wanted, or a small one for the gate. */
export const isFull = process.env.QUIRE_LOAD === 'full';

/** A figure beside its goal in the project's list. */
export function atMost(value: number, goal: number): string {
  return `${round(value)} (goal: at most ${goal}${value <= goal ? '' : ', MISSED'})`;
}

export function atLeast(value: number, goal: number): string {
  return `${round(value)} (goal: at least ${goal}${value >= goal ? '' : ', MISSED'})`;
}

/** Goals of all loads. */
export const GOALS = { loopP99: 50, loopMax: 250, kilobytesPerStream: 100, refusalP99: 20, goodput: 0.95, free: 100 };

/** Delay of the event loop of this process, in which clients run too, from now on. */
export function watchOwnLoop(): { p99: number; max: number } {
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  return {
    get p99() {
      return delay.percentile(99) / 1e6;
    },
    get max() {
      return delay.max / 1e6;
    },
  };
}

/** A figure of the load, for whoever runs it. */
export function tell(what: string, figures: Record<string, string | number>): void {
  const shown = Object.entries(figures).map(
    ([name, value]) => `${name} ${typeof value === 'number' ? round(value) : value}`,
  );
  console.log(`load: ${what}: ${shown.join(', ')}`);
}

const round = (value: number) => String(Math.round(value * 100) / 100);

export interface Streamed {
  status: number;
  retryAfter: string | null;
  /** Token ids of all chunks, in order. */
  tokenIds: number[];
  text: string;
  /** Arrival of each chunk, in milliseconds. */
  times: number[];
  finishReason: string | null;
  /** It ended with [DONE]. */
  whole: boolean;
  latency: number;
}

const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });

/**
 * Streams a completion and keeps all of it. Rejects when the connection breaks. onChunk is called for every chunk. Over node:http: what
 * fetch costs would be taken from the server, on the same processors.
 */
export async function stream(
  origin: string,
  body: object,
  { signal, onChunk = () => {} }: { signal?: AbortSignal; onChunk?: () => void } = {},
): Promise<Streamed> {
  const started = performance.now();
  const response = await post(`${origin}/v1/completions`, body, signal);
  const seen: Streamed = {
    status: response.statusCode ?? 0,
    retryAfter: response.headers['retry-after'] ?? null,
    tokenIds: [],
    text: '',
    times: [],
    finishReason: null,
    whole: false,
    latency: 0,
  };
  let rest = '';
  response.setEncoding('utf8');
  for await (const piece of response as AsyncIterable<string>) {
    const events = (rest + piece).split('\n\n');
    rest = events.pop()!;
    for (const event of events) take(seen, event.slice('data: '.length));
    onChunk();
  }
  seen.latency = performance.now() - started;
  return seen;
}

function post(url: string, fields: object, signal: AbortSignal | undefined): Promise<IncomingMessage> {
  const body = JSON.stringify({ temperature: 0, ignore_eos: true, stream: true, return_token_ids: true, ...fields });
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    request(url, { method: 'POST', agent, headers, signal }).once('response', resolve).on('error', reject).end(body);
  });
}

function take(seen: Streamed, data: string): void {
  if (data === '[DONE]') {
    seen.whole = true;
    return;
  }
  const { choices = [] } = JSON.parse(data) as {
    choices?: { text: string; token_ids?: number[]; finish_reason: string | null }[];
  };
  seen.times.push(performance.now());
  for (const choice of choices) {
    seen.text += choice.text;
    seen.tokenIds.push(...(choice.token_ids ?? []));
    seen.finishReason = choice.finish_reason ?? seen.finishReason;
  }
}

/** Asks a server of the benchmark what it uses until `work` is done; the most of each. */
export async function watch<T>(
  frontEnd: FrontEnd,
  work: Promise<T>,
): Promise<{ result: T; use: FrontEndUse; rssGrowth: number }> {
  const before = await frontEnd.use();
  frontEnd.reset();
  let over = false;
  const done = work.finally(() => {
    over = true;
  });
  let rss = before.rss;
  while (!over) {
    await new Promise(resolve => setTimeout(resolve, 200));
    rss = Math.max(rss, (await frontEnd.use()).rss);
  }
  return { result: await done, use: await frontEnd.use(), rssGrowth: rss - before.rss };
}

/** The value of a gauge or counter. */
export async function metric(origin: string, name: string): Promise<number> {
  const text = await (await fetch(`${origin}/metrics`)).text();
  return Number(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, 'm').exec(text)?.[1]);
}

/** See prober.mjs. */
export class Prober {
  readonly #child: ChildProcess;
  /** It was refused. */
  wasRefused = false;

  constructor(origin: string, body: object, everyMs: number) {
    const file = fileURLToPath(new URL('./prober.mjs', import.meta.url));
    this.#child = fork(file, [new URL(origin).port, String(everyMs), JSON.stringify(body)], { execArgv: [] });
    this.#child.on('message', message => {
      if (message === 'refused') this.wasRefused = true;
    });
  }

  stop(): Promise<{ refused: number[]; loopP99: number }> {
    return new Promise((resolve, reject) => {
      this.#child.on('message', message => {
        if (message !== 'refused') resolve(message as { refused: number[]; loopP99: number });
      });
      this.#child.once('exit', code => reject(new Error(`The prober ended with code ${code}.`)));
      this.#child.send('stop');
    });
  }
}

/** Between the two nearest. */
export function p99(values: number[]): number {
  values.sort((a, b) => a - b);
  return values[Math.floor(0.99 * (values.length - 1))] ?? 0;
}
