export interface StreamLimits {
  /** Bytes that may wait for the client before the engine's output is merged instead of written. */
  maxBufferedBytes: number;
  /** How long a client may leave more than that. */
  slowClientMs: number;
}

/** Where the events of a stream go. */
export interface EventSink {
  /** One or more whole events, each with its empty line. */
  write(events: string): void;
  /**
   * Whether more may be written now (undefined), or when the client has read enough. Rejects with HttpError (client_too_slow)
   * when it does not in time.
   */
  ready(): Promise<void> | undefined;
  /** The last events, and the clean end. */
  end(events: string): void;
  /** The end of a stream that failed: the last events, then a broken connection, so that no client takes it for whole. */
  fail(events: string): void;
}

/**
 * The events of one reply, between the handler that makes them and the sink that sends them. The handler asks `ready()` before
 * it takes the next output from the engine: while the client reads slowly, outputs merge upstream and memory stays bounded.
 */
export class EventStream {
  /** Resolves when the handler has ended the stream, well or not. */
  readonly over: Promise<void>;
  #finish!: () => void;
  /** Takes events until the sink is there. */
  readonly #start = new Held();
  #sink: EventSink = this.#start;

  constructor() {
    this.over = new Promise(resolve => {
      this.#finish = resolve;
    });
  }

  write(events: string): void {
    if (events !== '') this.#sink.write(events);
  }

  ready(): Promise<void> | undefined {
    return this.#sink.ready();
  }

  end(events: string): void {
    this.#sink.end(events);
    this.#finish();
  }

  fail(events: string): void {
    this.#sink.fail(events);
    this.#finish();
  }

  /** Sends what there is and all that follows to `sink`. To be called once, by whoever sends the reply. */
  pipe(sink: EventSink): void {
    this.#sink = sink;
    this.#start.release(sink);
  }
}

/** Stands for the sink of a stream whose head is not sent yet. */
class Held implements EventSink {
  #events = '';
  #last: ['end' | 'fail', string] | null = null;
  readonly #sink: Promise<EventSink>;
  #resolve!: (sink: EventSink) => void;

  constructor() {
    this.#sink = new Promise(resolve => {
      this.#resolve = resolve;
    });
  }

  write(events: string): void {
    this.#events += events;
  }

  async ready(): Promise<void> {
    await (await this.#sink).ready();
  }

  end(events: string): void {
    this.#last = ['end', events];
  }

  fail(events: string): void {
    this.#last = ['fail', events];
  }

  release(sink: EventSink): void {
    if (this.#events !== '') sink.write(this.#events);
    if (this.#last !== null) sink[this.#last[0]](this.#last[1]);
    this.#resolve(sink);
  }
}
