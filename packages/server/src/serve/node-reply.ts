import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { clientTooSlow } from '../http/errors.ts';
import { type EventSink, EventStream, type StreamLimits } from '../http/event-stream.ts';
import { ByteStream, type Reply } from '../http/reply.ts';

/** Sends a reply. A request of which much is not read yet loses its connection: the rest is not a request. */
export function sendReply(res: ServerResponse, reply: Reply, limits: StreamLimits): void {
  const { status, headers, body } = reply;
  if (body instanceof EventStream) {
    if (!res.destroyed) res.writeHead(status, headers);
    body.pipe(new ResponseSink(res, limits));
    return;
  }
  if (res.destroyed) return;
  if (body instanceof ByteStream) {
    res.writeHead(status, { ...headers, 'content-length': body.length });
    res.setTimeout(limits.slowClientMs, () => res.destroy());
    // A failure in the middle destroys the connection: the length tells the client that bytes are missing.
    pipeline(body.chunks, res).catch(() => res.destroy());
    return;
  }
  const length = { 'content-length': typeof body === 'string' ? Buffer.byteLength(body) : body.length };
  const unread = unreadBytes(res.req);
  if (unread === 0) res.writeHead(status, { ...headers, ...length }).end(body);
  else if (unread <= MAX_SKIPPED_BYTES) sendAndLinger(res.writeHead(status, { ...headers, ...length }), body);
  else sendAndLinger(res.writeHead(status, { ...headers, ...length, connection: 'close' }), body);
}

/**
 * A body of which no more can be left is read over, and its connection is kept: a refusal must not cost a new one, of which Node takes
 * only one in each turn of its loop.
 */
const MAX_SKIPPED_BYTES = 64 * 1024;

/** How much of the body may be left on the wire, at most. */
function unreadBytes({ complete, headers }: IncomingMessage): number {
  const { 'content-length': length, 'transfer-encoding': encoding } = headers;
  if (complete) return 0;
  return encoding === undefined ? Number(length ?? 0) : Number.POSITIVE_INFINITY;
}

/** How long the rest of a refused body is read and thrown away. Closing at once would reset the answer off the wire. */
const LINGER_MS = 500;

function sendAndLinger(res: ServerResponse, body: string | Uint8Array): void {
  const { req } = res;
  res.write(body);
  const finish = () => {
    clearTimeout(timer);
    res.end();
  };
  const timer = setTimeout(finish, LINGER_MS);
  req.once('end', finish);
  req.resume();
}

/** Server-sent events on a socket. Bytes that wait in its buffer are bounded. */
class ResponseSink implements EventSink {
  readonly #res: ServerResponse;
  readonly #limits: StreamLimits;
  /** Shared by all prompts of the request, which wait together. */
  #draining: Promise<void> | null = null;

  constructor(res: ServerResponse, limits: StreamLimits) {
    this.#res = res;
    this.#limits = limits;
  }

  write(events: string): void {
    this.#res.write(events);
  }

  ready(): Promise<void> | undefined {
    if (this.#res.writableLength <= this.#limits.maxBufferedBytes || this.#res.destroyed) return undefined;
    this.#draining ??= drained(this.#res, this.#limits.slowClientMs).finally(() => {
      this.#draining = null;
    });
    return this.#draining;
  }

  end(events: string): void {
    this.#res.end(events);
  }

  fail(events: string): void {
    const res = this.#res;
    const destroy = () => res.destroy();
    const timer = setTimeout(destroy, 1000).unref();
    res.write(events, () => {
      clearTimeout(timer);
      destroy();
    });
  }
}

async function drained(res: ServerResponse, timeoutMs: number): Promise<void> {
  const inTime = await new Promise<boolean>(resolve => {
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
  if (!inTime) throw clientTooSlow();
}
