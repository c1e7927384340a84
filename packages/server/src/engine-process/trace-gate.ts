import type { EngineStats } from '@quire/core';

/** Twenty a second are more than an eye follows, and cost a fast engine little. */
const INTERVAL_MS = 50;

/** Lets traces of steps through while they are wanted: so many a second, and always that of the step after which nothing runs. */
export class TraceGate {
  isOpen = false;
  readonly #stats: () => Pick<EngineStats, 'numRequestsRunning' | 'numRequestsWaiting'>;
  #last = Number.NEGATIVE_INFINITY;

  constructor(stats: () => Pick<EngineStats, 'numRequestsRunning' | 'numRequestsWaiting'>) {
    this.#stats = stats;
  }

  /** Whether a trace may be taken now. */
  get isDue(): boolean {
    return this.isOpen && (performance.now() - this.#last >= INTERVAL_MS || this.#isIdle);
  }

  /** A trace was taken. */
  passed(): void {
    this.#last = performance.now();
  }

  get #isIdle(): boolean {
    const { numRequestsRunning, numRequestsWaiting } = this.#stats();
    return numRequestsRunning + numRequestsWaiting === 0;
  }
}
