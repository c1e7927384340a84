import { type Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';

/** Where requests go. */
export interface LoadTarget {
  /** Such as http://127.0.0.1:8000. */
  readonly baseUrl: string;
  /** null: the one that the server has. */
  readonly model: string | null;
  readonly apiKey: string | null;
  readonly agent: Agent;
}

/** One streamed completion as its client saw it. Times are milliseconds since it was sent. */
export interface StreamResult {
  /** What was wrong, or null for a stream that came whole. */
  readonly failure: string | null;
  readonly status: number;
  /** Arrival of every chunk with text. */
  readonly chunks: readonly number[];
  readonly latency: number;
  /** Tokens as the server counts them. */
  readonly outputTokens: number;
  readonly promptTokens: number;
}

const NEWLINE = 0x0a;
/** Enough for the last events: usage, and [DONE]. */
const TAIL_BYTES = 1024;

/** Streams a completion of token ids to its end. Never rejects. */
export function streamCompletion(
  target: LoadTarget,
  promptTokenIds: readonly number[],
  maxTokens: number,
): Promise<StreamResult> {
  const body = JSON.stringify({
    ...(target.model === null ? {} : { model: target.model }),
    prompt: promptTokenIds,
    max_tokens: maxTokens,
    temperature: 0,
    ignore_eos: true,
    stream: true,
    stream_options: { include_usage: true },
  });
  const started = performance.now();
  const counter = new ChunkCounter(started);
  return new Promise(resolve => {
    const finish = (status: number, failure: string | null) => resolve(counter.result(status, failure));
    const send = target.baseUrl.startsWith('https:') ? httpsRequest : httpRequest;
    const request = send(`${target.baseUrl}/v1/completions`, {
      method: 'POST',
      agent: target.agent,
      headers: headersOf(target, body),
    });
    request.on('error', error => finish(0, error.message));
    request.on('response', (response: IncomingMessage) => {
      response.on('data', (chunk: Buffer) => counter.add(chunk));
      response.on('error', error => finish(response.statusCode ?? 0, error.message));
      response.on('end', () => finish(response.statusCode ?? 0, null));
    });
    request.end(body);
  });
}

function headersOf({ apiKey }: LoadTarget, body: string): Record<string, string> {
  return {
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    ...(apiKey === null ? {} : { authorization: `Bearer ${apiKey}` }),
  };
}

/** Counts events by their ends: the client must cost less than the server that it measures. */
class ChunkCounter {
  readonly #started: number;
  readonly #times: number[] = [];
  #tail = Buffer.alloc(0);
  #lastByte = 0;

  constructor(started: number) {
    this.#started = started;
  }

  add(chunk: Buffer): void {
    const now = performance.now() - this.#started;
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, at + 1)) {
      if ((at === 0 ? this.#lastByte : chunk[at - 1]) === NEWLINE) this.#times.push(now);
    }
    this.#lastByte = chunk.at(-1) ?? this.#lastByte;
    this.#tail = Buffer.concat([this.#tail, chunk]).subarray(-TAIL_BYTES);
  }

  result(status: number, failure: string | null): StreamResult {
    const end = this.#tail.toString('utf8');
    const whole = status === 200 && end.endsWith('data: [DONE]\n\n');
    const count = (name: string) => Number(new RegExp(`"${name}":(\\d+)`).exec(end)?.[1] ?? 0);
    return {
      failure: failure ?? (whole ? null : `status ${status}: ${end.slice(-200)}`),
      status,
      // The last two events are the usage and the end.
      chunks: whole ? this.#times.slice(0, -2) : this.#times,
      latency: performance.now() - this.#started,
      outputTokens: count('completion_tokens'),
      promptTokens: count('prompt_tokens'),
    };
  }
}
