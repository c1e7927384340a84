import type { AsyncLLM } from '@quire/core';
import type { Pace } from './messages.ts';

/**
 * Pause, single step and speed. The engine runs with one step in flight and is paused when one has been read, so that what is
 * seen is what there is.
 */
export class Pacer {
  readonly #engine: Pick<AsyncLLM, 'pause' | 'resume'>;
  #pace: Pace = { paused: false, delay: 0 };
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(engine: Pick<AsyncLLM, 'pause' | 'resume'>) {
    this.#engine = engine;
  }

  set(pace: Pace): void {
    this.#pace = pace;
    clearTimeout(this.#timer);
    if (pace.paused) this.#engine.pause();
    else this.#engine.resume();
  }

  /** One step, after which the engine is paused again. */
  step(): void {
    this.#engine.resume();
  }

  /** To be called when a step has been read. */
  stepped(): void {
    const { paused, delay } = this.#pace;
    if (!paused && delay === 0) return;
    this.#engine.pause();
    if (!paused) this.#timer = setTimeout(() => this.#engine.resume(), delay);
  }
}
