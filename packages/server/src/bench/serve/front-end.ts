import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { BenchRow } from '../report.ts';
import { row } from './load-rows.ts';
import { type LoadRun, openTarget, runLoad } from './run-load.ts';
import type { LoadTarget, StreamResult } from './stream-client.ts';
import type { LoadRequest } from './workload.ts';

export type FrontEndAsk =
  | { kind: 'start'; options: { model: string; [option: string]: unknown }; paced: boolean }
  | { kind: 'use' | 'reset' | 'drain' };

/** What a server has used so far. */
export interface FrontEndUse {
  cpuMs: number;
  rss: number;
  heapUsed: number;
  /** The process of its engine. */
  enginePid: number;
  /** Of the event loop, since it was reset; milliseconds. */
  loopDelayP99: number;
  loopDelayMax: number;
  /** From the head of a request that was answered 429 to the end of the answer, since the reset; milliseconds. */
  refusalP99: number;
}

/** Node runs compiled files only, also when this one is run from its source. */
const entry = new URL(
  import.meta.url.endsWith('.ts') ? '../../../dist/bench/serve/front-end-main.js' : './front-end-main.js',
  import.meta.url,
);

/** A server in a process of its own, over an engine that computes nothing. */
export class FrontEnd {
  readonly origin: string;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.origin = `http://127.0.0.1:${port}`;
  }

  /**
   * options: of `startServer`. One token a step, so that each is streamed by itself, unless the server is too slow for that;
   * `paced`: at 50 steps a second, otherwise as fast as the engine can.
   */
  static async start(model: string, options: Record<string, unknown> = {}, paced = false): Promise<FrontEnd> {
    const child = fork(fileURLToPath(entry), { stdio: ['ignore', 2, 2, 'ipc'], execArgv: [] });
    const engine = { maxNumSeqs: 1024, numSchedulerSteps: 1, numGpuBlocksOverride: 40_000 };
    const all = { model, ...engine, maxNumQueuedReqs: 100_000, ...options };
    const { port } = await ask<{ port: number }>(child, { kind: 'start', options: all, paced });
    return new FrontEnd(child, port);
  }

  use(): Promise<FrontEndUse> {
    return ask<FrontEndUse>(this.#child, { kind: 'use' });
  }

  /** Begins to measure event loop and refusals anew. */
  reset(): void {
    this.#child.send({ kind: 'reset' });
  }

  /** The server takes no new requests, and ends when those in progress have. */
  drain(): void {
    this.#child.send({ kind: 'drain' });
  }

  async stop(): Promise<void> {
    const ended = new Promise(resolve => this.#child.once('exit', resolve));
    this.#child.disconnect();
    await ended;
  }
}

function ask<T>(child: ChildProcess, message: FrontEndAsk): Promise<T> {
  return new Promise((resolve, reject) => {
    const gone = (code: number | null) => reject(new Error(`The server of the benchmark ended with code ${code}.`));
    child.once('exit', gone);
    child.once('message', answer => {
      child.off('exit', gone);
      resolve(answer as T);
    });
    child.send(message);
  });
}

const PROMPT = Array.from({ length: 32 }, (_, i) => 10 + i);

/** A load, and what the server spent on it. */
interface Measured extends LoadRun {
  readonly cpuMs: number;
  readonly loopDelayP99: number;
}

/**
 * The server without its engine: streamed tokens per second at 256 streams, and requests of 32 tokens per second at 64, with the
 * processor time that the front end's process spends on each, which is what a busy machine changes least. Chunks are measured at
 * 128 streams of 50 tokens a second, where no tokens are merged unless the machine is busy.
 */
export async function benchFrontEnd(model: string, scale = 1): Promise<BenchRow[]> {
  const repeat = (count: number, outputTokens: number): LoadRequest[] =>
    Array.from({ length: Math.ceil(count * scale) }, () => ({ promptTokenIds: PROMPT, outputTokens }));
  const [, streams, requests] = await measureLoads(model, false, [
    [repeat(1000, 32), 64],
    [repeat(1024, 256), 256],
    [repeat(4000, 32), 64],
  ]);
  const [, paced] = await measureLoads(model, true, [
    [repeat(256, 32), 128],
    [repeat(256, 256), 128],
  ]);
  const tokens = sum(streams!, ({ outputTokens }) => outputTokens);
  const count = requests!.results.length;
  return [
    row('serve.frontend.tokens', tokens / streams!.seconds, 'tokens/s'),
    row('serve.frontend.chunks', sum(streams!, ({ chunks }) => chunks.length) / streams!.seconds, 'chunks/s'),
    row('serve.frontend.token.cpu', (1000 * streams!.cpuMs) / tokens, 'us'),
    row('serve.frontend.loop.p99', streams!.loopDelayP99, 'ms'),
    row('serve.frontend.requests', count / requests!.seconds, 'requests/s'),
    row('serve.frontend.request.cpu', (1000 * requests!.cpuMs) / count, 'us'),
    row('serve.frontend.paced.chunk.cpu', (1000 * paced!.cpuMs) / sum(paced!, ({ chunks }) => chunks.length), 'us'),
    row('serve.frontend.paced.loop.p99', paced!.loopDelayP99, 'ms'),
  ];
}

/** One load after another on one server: the first warms it up. */
async function measureLoads(
  model: string,
  paced: boolean,
  loads: readonly (readonly [requests: LoadRequest[], maxConcurrency: number])[],
): Promise<Measured[]> {
  const frontEnd = await FrontEnd.start(model, {}, paced);
  const target = openTarget(frontEnd.origin, null, null);
  const measured: Measured[] = [];
  try {
    for (const load of loads) measured.push(await measure(frontEnd, target, ...load));
    return measured;
  } finally {
    target.agent.destroy();
    await frontEnd.stop();
  }
}

async function measure(
  frontEnd: FrontEnd,
  target: LoadTarget,
  requests: LoadRequest[],
  maxConcurrency: number,
): Promise<Measured> {
  const before = await frontEnd.use();
  frontEnd.reset();
  const run = await runLoad(target, requests, { requestRate: Number.POSITIVE_INFINITY, maxConcurrency, seed: 0 });
  const failed = run.results.find(({ failure }) => failure !== null);
  if (failed !== undefined) throw new Error(`A stream of the benchmark failed: ${failed.failure}`);
  const after = await frontEnd.use();
  return { ...run, cpuMs: after.cpuMs - before.cpuMs, loopDelayP99: after.loopDelayP99 };
}

function sum({ results }: LoadRun, of: (result: StreamResult) => number): number {
  return results.reduce((total, result) => total + of(result), 0);
}
