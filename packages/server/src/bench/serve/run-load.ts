import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { type LoadTarget, type StreamResult, streamCompletion } from './stream-client.ts';
import { type LoadRequest, mulberry32, poissonArrivals } from './workload.ts';

export interface LoadOptions {
  /** Requests per second on average; Infinity: all at once. */
  readonly requestRate: number;
  /** Requests in progress at most. A request that waits for its turn here is not late: its clock starts when it is sent. */
  readonly maxConcurrency: number;
  readonly seed: number;
}

export interface LoadRun {
  readonly results: readonly StreamResult[];
  /** From the first request to the last answer. */
  readonly seconds: number;
}

/** A target with connections of its own. */
export function openTarget(baseUrl: string, model: string | null, apiKey: string | null): LoadTarget {
  const origin = baseUrl.replace(/\/+$/, '').replace(/\/v1$/, '');
  const Agent = origin.startsWith('https:') ? HttpsAgent : HttpAgent;
  return {
    baseUrl: origin,
    model,
    apiKey,
    agent: new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY }),
  };
}

/** Sends the requests as they arrive and waits for all answers. */
export async function runLoad(
  target: LoadTarget,
  requests: readonly LoadRequest[],
  { requestRate, maxConcurrency, seed }: LoadOptions,
): Promise<LoadRun> {
  const arrivals = poissonArrivals(requests.length, requestRate, mulberry32(seed));
  const results: StreamResult[] = [];
  const started = performance.now();
  let next = 0;
  const work = async () => {
    while (next < requests.length) {
      const i = next++;
      const { promptTokenIds, outputTokens } = requests[i]!;
      const wait = arrivals[i]! * 1000 - (performance.now() - started);
      if (wait > 0) await new Promise(resolve => setTimeout(resolve, wait));
      results[i] = await streamCompletion(target, promptTokenIds, outputTokens);
    }
  };
  await Promise.all(Array.from({ length: Math.min(maxConcurrency, requests.length) }, work));
  return { results, seconds: (performance.now() - started) / 1000 };
}
