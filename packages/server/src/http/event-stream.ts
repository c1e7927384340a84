import type { ServerResponse } from 'node:http';
import { errorBody, HttpError } from './errors.ts';

export interface StreamLimits {
  /** Bytes that may wait in the socket's buffer before the engine's output is merged instead of written. */
  maxBufferedBytes: number;
  /** How long a client may leave the buffer above that. */
  slowClientMs: number;
}

/**
 * Server-sent events on one response. The writer asks `ready()` before it takes the next output from the engine: while the
 * client reads slowly, outputs merge upstream and memory stays bounded.
 */
export class EventStream {
  readonly #res: ServerResponse;
  readonly #limits: StreamLimits;
  /** Shared by all writers of the stream that wait. */
  #draining: Promise<boolean> | null = null;

  constructor(res: ServerResponse, limits: StreamLimits) {
    this.#res = res;
    this.#limits = limits;
  }

  get opened(): boolean {
    return this.#res.headersSent;
  }

  /** Sends the head. `x-accel-buffering` keeps reverse proxies from collecting the events. */
  open(): void {
    this.#res.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
    });
  }

  /** One or more whole events, each `data: ...` with its empty line. */
  write(events: string): void {
    this.#res.write(events);
  }

  /** Resolves when the client has read enough. Throws HttpError (client_too_slow) when it does not in time. */
  async ready(): Promise<void> {
    if (this.#res.writableLength <= this.#limits.maxBufferedBytes || this.#res.destroyed) return;
    this.#draining ??= drained(this.#res, this.#limits.slowClientMs).finally(() => {
      this.#draining = null;
    });
    if (await this.#draining) return;
    throw new HttpError(408, 'The client reads the stream too slowly.', { code: 'client_too_slow' });
  }

  /** The clean end. */
  end(): void {
    this.#res.end('data: [DONE]\n\n');
  }

  /** The end of a stream that failed: an error event, then the socket is destroyed, so that no client takes it for whole. */
  fail(error: HttpError): void {
    const res = this.#res;
    const destroy = () => res.destroy();
    const timer = setTimeout(destroy, 1000).unref();
    res.write(`data: ${errorBody(error)}\n\n`, () => {
      clearTimeout(timer);
      destroy();
    });
  }
}

function drained(res: ServerResponse, timeoutMs: number): Promise<boolean> {
  return new Promise(resolve => {
    const finish = (value: boolean) => {
      clearTimeout(timer);
      res.off('drain', onDrain);
      res.off('close', onDrain);
      resolve(value);
    };
    const onDrain = () => finish(true);
    const timer = setTimeout(() => finish(false), timeoutMs);
    res.on('drain', onDrain);
    res.on('close', onDrain);
  });
}
