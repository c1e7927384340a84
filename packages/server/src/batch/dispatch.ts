import { BatchError } from './batch-error.ts';
import type { BatchOutcome } from './output-line.ts';
import type { BatchRequest } from './request-line.ts';

/** The handler that answers OpenAI's API. */
export type Fetch = (request: Request) => Promise<Response>;

export interface DispatchOptions {
  readonly fetch: Fetch;
  /** Ends the request in progress; it rejects then. */
  readonly signal?: AbortSignal;
  /** Added to bodies that do not have them. */
  readonly defaults?: Readonly<Record<string, unknown>>;
  /** First pause before a request that met a busy server goes again, in milliseconds; it doubles up to 32 s. Default 500. */
  readonly pauseMs?: number;
  /** Default 8: about a minute in which an engine may restart. */
  readonly maxTries?: number;
}

const MAX_DOUBLINGS = 6;

/**
 * Sends one request. A server that is busy or restarts (429, 503) is asked again; one that stays so throws BatchError, since
 * every request after this one would fail as well. All other answers are outcomes.
 */
export async function dispatch(item: BatchRequest, options: DispatchOptions): Promise<BatchOutcome> {
  const { signal, pauseMs = 500, maxTries = 8 } = options;
  for (let tries = 1; ; tries++) {
    const response = await options.fetch(toRequest(item, options));
    const outcome = await toOutcome(item, response);
    // An answer to a request that was given up tells nothing of it.
    signal?.throwIfAborted();
    if (response.status !== 429 && response.status !== 503) return outcome;
    if (tries === maxTries) {
      const message = `The server answered line ${item.line} with ${response.status} ${maxTries} times. Run the batch again to go on.`;
      throw new BatchError('server_unavailable', message);
    }
    await pause(pauseMs * 2 ** Math.min(tries - 1, MAX_DOUBLINGS), signal);
  }
}

function toRequest({ url, body }: BatchRequest, { signal, defaults }: DispatchOptions): Request {
  return new Request(`http://localhost${url}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...defaults, ...body }),
    ...(signal === undefined ? {} : { signal }),
  });
}

async function toOutcome({ customId }: BatchRequest, response: Response): Promise<BatchOutcome> {
  const requestId = response.headers.get('x-request-id') ?? '';
  const text = await response.text();
  return { customId, response: { status: response.status, requestId, body: parsed(text) }, error: null };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, ms);
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort, { once: true });
  });
}
