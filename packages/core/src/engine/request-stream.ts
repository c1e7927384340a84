import type { RequestGroup } from './output-processor.ts';
import type { RequestOutput } from './outputs.ts';
import { OutputCursor, type OutputKind } from './request-output.ts';

/**
 * Outputs of one request, as they come. There is no queue: an output is made of what the consumer has not seen when it asks, so
 * a slow consumer gets merged outputs and holds nobody up.
 */
export class RequestStream implements AsyncIterableIterator<RequestOutput> {
  readonly requestId: string;
  readonly #group: RequestGroup;
  readonly #cursor: OutputCursor;
  readonly #abort: () => void;
  readonly #signal: AbortSignal | undefined;
  #waiters: (() => void)[] = [];
  #isOver = false;

  constructor(group: RequestGroup, kind: OutputKind, abort: () => void, signal: AbortSignal | undefined) {
    this.requestId = group.id;
    this.#group = group;
    this.#cursor = new OutputCursor(group, kind);
    this.#abort = abort;
    this.#signal = signal;
    group.onChange = () => this.#wake();
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort, { once: true });
  }

  /** Ends the request with reason `abort`; its last output is still delivered. */
  abort(): void {
    this.#abort();
  }

  async next(): Promise<IteratorResult<RequestOutput, undefined>> {
    while (!this.#isOver) {
      if (this.#cursor.hasNews) return this.#take();
      if (this.#group.failure !== null) {
        this.#isOver = true;
        throw this.#group.failure;
      }
      await new Promise<void>(resolve => this.#waiters.push(resolve));
    }
    return { done: true, value: undefined };
  }

  /** Aborts the request unless it has ended. */
  async return(): Promise<IteratorResult<RequestOutput, undefined>> {
    this.#isOver = true;
    this.#abort();
    this.#wake();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #take(): IteratorResult<RequestOutput, undefined> {
    const value = this.#cursor.take();
    if (value.finished) {
      this.#isOver = true;
      this.#wake();
    }
    return { done: false, value };
  }

  #wake(): void {
    if (this.#group.isFinished || this.#group.failure !== null) this.#signal?.removeEventListener('abort', this.#abort);
    const waiters = this.#waiters;
    if (waiters.length === 0) return;
    this.#waiters = [];
    for (const resolve of waiters) resolve();
  }
}
