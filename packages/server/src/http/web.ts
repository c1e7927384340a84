import { bodyTooLarge } from './body.ts';
import { clientTooSlow, HttpError } from './errors.ts';
import { type EventSink, EventStream, type StreamLimits } from './event-stream.ts';
import { ByteStream, type Reply } from './reply.ts';
import { type AppRequest, newRequestId, requestLabel } from './request.ts';

/** A request that came as an object of the Fetch API. */
export class WebRequest implements AppRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly requestId = newRequestId();
  readonly label: string | null;
  readonly signal: AbortSignal;
  readonly #request: Request;

  constructor(request: Request, signal: AbortSignal) {
    const { pathname, searchParams } = new URL(request.url);
    this.method = request.method;
    this.path = pathname;
    this.query = searchParams;
    this.signal = signal;
    this.label = requestLabel(request.headers.get('x-request-id') ?? undefined);
    this.#request = request;
  }

  header(name: string): string | undefined {
    return this.#request.headers.get(name) ?? undefined;
  }

  async body(maxBytes: number): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    const reader = this.#request.body?.getReader();
    for (let chunk = await reader?.read(); chunk?.value !== undefined; chunk = await reader?.read()) {
      bytes += chunk.value.length;
      if (bytes > maxBytes) {
        await reader?.cancel();
        throw bodyTooLarge(maxBytes);
      }
      chunks.push(chunk.value);
    }
    return concatenate(chunks, bytes);
  }

  async *chunks(): AsyncGenerator<Uint8Array> {
    const reader = this.#request.body?.getReader();
    for (let chunk = await reader?.read(); chunk?.value !== undefined; chunk = await reader?.read()) yield chunk.value;
  }
}

function concatenate(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const all = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    all.set(chunk, offset);
    offset += chunk.length;
  }
  return all;
}

/** `cancelled` is called when the reader of a stream leaves before its end. */
export function toResponse({ status, headers, body }: Reply, limits: StreamLimits, cancelled: () => void): Response {
  if (body instanceof ByteStream) return new Response(pulled(body), { status, headers });
  if (!(body instanceof EventStream)) return new Response(body as BodyInit, { status, headers });
  const sink = new StreamSink(limits, cancelled);
  body.pipe(sink);
  return new Response(sink.stream, { status, headers });
}

function pulled({ chunks }: ByteStream): ReadableStream<Uint8Array> {
  const iterator = chunks[Symbol.asyncIterator]();
  return new ReadableStream({
    pull: async controller => {
      const { value, done } = await iterator.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: async () => void (await iterator.return?.()),
  });
}

/** Server-sent events as a ReadableStream of bytes. What waits to be read is bounded by `limits`. */
class StreamSink implements EventSink {
  readonly stream: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly #limits: StreamLimits;
  readonly #encoder = new TextEncoder();
  #controller!: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>;
  /** Resolves when the reader has taken something. */
  #taken: { promise: Promise<void>; resolve: () => void } | null = null;
  #closed = false;
  #failed = false;

  constructor(limits: StreamLimits, cancelled: () => void) {
    this.#limits = limits;
    this.stream = new ReadableStream<Uint8Array<ArrayBuffer>>(
      {
        start: controller => {
          this.#controller = controller;
        },
        pull: () => this.#onTaken(),
        cancel: () => {
          this.#closed = true;
          this.#onTaken();
          cancelled();
        },
      },
      new ByteLengthQueuingStrategy({ highWaterMark: limits.maxBufferedBytes }),
    );
  }

  write(events: string): void {
    if (!this.#closed) this.#controller.enqueue(this.#encoder.encode(events));
  }

  ready(): Promise<void> | undefined {
    if (this.#closed || (this.#controller.desiredSize ?? 1) > 0) return undefined;
    this.#taken ??= withResolver();
    return this.#inTime(this.#taken.promise);
  }

  end(events: string): void {
    this.write(events);
    if (!this.#closed) this.#controller.close();
    this.#closed = true;
  }

  /** An error would throw away what is not read yet, so it follows when all is. */
  fail(events: string): void {
    this.write(events);
    this.#failed = true;
  }

  #onTaken(): void {
    if (this.#failed && !this.#closed && this.#controller.desiredSize === this.#limits.maxBufferedBytes) {
      this.#closed = true;
      this.#controller.error(new HttpError(500, 'The stream failed: its last event tells why.'));
    }
    this.#taken?.resolve();
    this.#taken = null;
  }

  async #inTime(taken: Promise<void>): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(clientTooSlow()), this.#limits.slowClientMs);
    });
    await Promise.race([taken, late]).finally(() => clearTimeout(timer));
  }
}

function withResolver(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>(r => {
    resolve = r;
  });
  return { promise, resolve };
}
