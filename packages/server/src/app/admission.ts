import { HttpError } from '../http/errors.ts';

/** Finished sequences that the drain rate is measured over. */
const RATE_WINDOW = 32;

/** Of the engine. */
interface Places {
  /** Sequences that it computes now. */
  readonly numRunning: number;
  /** Places for further sequences, which those that wait already will take first. */
  readonly numPlaces: number;
}

/**
 * Bounds the queue: sequences (prompts times n) that were let in, do not run and have no free row waiting for them. A request is
 * counted when it is checked, before its prompt is tokenised, so that a burst cannot pass the check together.
 */
export class Admission {
  readonly #maxQueued: number;
  readonly #engine: Places;
  readonly #finishedAt: number[] = [];
  #arriving = 0;
  #admitted = 0;

  constructor(maxQueued: number, engine: Places) {
    this.#maxQueued = maxQueued;
    this.#engine = engine;
  }

  /** Sequences let in and not released. */
  get admitted(): number {
    return this.#admitted;
  }

  /** Whether a request would be refused now whatever it is. */
  get isFull(): boolean {
    return this.#queued > 0 && this.#queued >= this.#maxQueued;
  }

  /**
   * Counts a request that has come and not begun, as one sequence: those that wait for their beginning are bounded too. Call the result
   * once, when it begins.
   */
  arrive(): () => void {
    this.#arriving++;
    return () => {
      this.#arriving--;
    };
  }

  /** Throws HttpError 429 when the queue is full: before the body of a request is read. */
  checkRoom(): void {
    if (this.isFull) throw this.#refusal(this.#queued);
  }

  /** Throws HttpError 429 with Retry-After when the queue is full. Call the result once, when the request is over. */
  admit(sequences: number): () => void {
    const queued = this.#queued;
    if (queued > 0 && queued + sequences > this.#maxQueued) throw this.#refusal(queued);
    this.#admitted += sequences;
    return () => this.#release(sequences);
  }

  get #queued(): number {
    return this.#arriving + this.#admitted - this.#engine.numRunning - this.#engine.numPlaces;
  }

  #release(sequences: number): void {
    this.#admitted -= sequences;
    const now = performance.now();
    for (let i = 0; i < Math.min(sequences, RATE_WINDOW); i++) this.#finishedAt.push(now);
    this.#finishedAt.splice(0, this.#finishedAt.length - RATE_WINDOW);
  }

  #refusal(queued: number): HttpError {
    const message = `The queue is full: ${queued} requests wait, the limit is ${this.#maxQueued}. Try again later.`;
    const headers = { 'retry-after': String(this.#secondsUntilRoom(queued)) };
    return new HttpError(429, message, { type: 'rate_limit_error', code: 'queue_full', headers });
  }

  /** From the rate at which sequences finished lately; at least 1, at most 60. */
  #secondsUntilRoom(queued: number): number {
    const [first, ...rest] = this.#finishedAt;
    if (first === undefined || rest.length === 0) return 1;
    const perSecond = (rest.length * 1000) / Math.max(1, performance.now() - first);
    return Math.min(60, Math.max(1, Math.ceil(queued / 2 / perSecond)));
  }
}
