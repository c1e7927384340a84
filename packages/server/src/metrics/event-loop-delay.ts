import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';

const WINDOW_MS = 10_000;
const RESOLUTION_MS = 10;

/** Seconds. */
export interface DelayWindow {
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/**
 * How late the event loop of this process is: the time that a timer waits beyond its due time. Told of the last whole ten seconds,
 * or of those that there are, so that readers do not take it from each other.
 */
export class EventLoopDelay {
  readonly #histogram: IntervalHistogram;
  readonly #timer: NodeJS.Timeout;
  #last: DelayWindow | null = null;

  constructor(windowMs = WINDOW_MS) {
    this.#histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
    this.#histogram.enable();
    this.#timer = setInterval(() => {
      this.#last = this.#current();
      this.#histogram.reset();
    }, windowMs).unref();
  }

  read(): DelayWindow {
    return this.#last ?? this.#current();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#histogram.disable();
  }

  /** The histogram holds whole intervals between two timers; what is above the resolution is delay. */
  #current(): DelayWindow {
    const histogram = this.#histogram;
    const seconds = (nanoseconds: number) =>
      Number.isFinite(nanoseconds) ? Math.max(0, nanoseconds / 1e9 - RESOLUTION_MS / 1e3) : 0;
    if (histogram.count === 0) return { mean: 0, p50: 0, p90: 0, p99: 0, max: 0 };
    return {
      mean: seconds(histogram.mean),
      p50: seconds(histogram.percentile(50)),
      p90: seconds(histogram.percentile(90)),
      p99: seconds(histogram.percentile(99)),
      max: seconds(histogram.max),
    };
  }
}
