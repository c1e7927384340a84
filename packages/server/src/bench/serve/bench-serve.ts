import { type RunningServer, type ServerOptions, startServer } from '../../serve/start-server.ts';
import type { BenchRow } from '../report.ts';
import { benchFrontEnd } from './front-end.ts';
import { loadRows } from './load-rows.ts';
import { openTarget, runLoad } from './run-load.ts';
import { streamCompletion } from './stream-client.ts';
import { shareGptRequests } from './workload.ts';

export interface BenchServeOptions {
  /** Of the server that is started. */
  readonly engine: ServerOptions;
  /** A server that runs, or null. */
  readonly baseUrl: string | null;
  readonly modelName: string | null;
  readonly apiKey: string | null;
  readonly numPrompts: number;
  /** Requests per second; Infinity: all at once. */
  readonly requestRate: number;
  readonly maxConcurrency: number;
}

/** A server under load and, where it was started for that, the front end alone. `device` names what was measured. */
export async function benchServe(options: BenchServeOptions): Promise<{ device: string; rows: BenchRow[] }> {
  const { baseUrl, engine } = options;
  if (baseUrl !== null) return { device: baseUrl, rows: await underLoad(baseUrl, options) };
  const server = await startServer({ ...engine, port: 0, engineProcess: true, maxNumQueuedReqs: 1_000_000 });
  try {
    const rows = await underLoad(`http://127.0.0.1:${server.port}`, options);
    return { device: deviceOf(server), rows: [...rows, ...(await benchFrontEnd(engine.model))] };
  } finally {
    await server.close(0);
  }
}

async function underLoad(baseUrl: string, options: BenchServeOptions): Promise<BenchRow[]> {
  const { numPrompts, requestRate, maxConcurrency, modelName, apiKey } = options;
  const target = openTarget(baseUrl, modelName, apiKey);
  try {
    const requests = shareGptRequests(numPrompts, 0, await maxModelLen(baseUrl, apiKey));
    // What is compiled or opened by the first request is not measured.
    const [first] = requests;
    const { failure } = await streamCompletion(target, first!.promptTokenIds, 2);
    if (failure !== null) throw new Error(`${baseUrl} does not answer: ${failure}`);
    return loadRows(await runLoad(target, requests, { requestRate, maxConcurrency, seed: 0 }));
  } finally {
    target.agent.destroy();
  }
}

/** The context of the first model that the server names; 2,048 where it does not tell. */
async function maxModelLen(baseUrl: string, apiKey: string | null): Promise<number> {
  const headers = apiKey === null ? {} : { authorization: `Bearer ${apiKey}` };
  const origin = baseUrl.replace(/\/+$/, '').replace(/\/v1$/, '');
  const answer = await fetch(`${origin}/v1/models`, { headers });
  const { data } = (await answer.json()) as { data?: { max_model_len?: number }[] };
  return data?.[0]?.max_model_len ?? 2048;
}

function deviceOf({ description: { device } }: RunningServer): string {
  return `${device.kind} (${device.name})`;
}
