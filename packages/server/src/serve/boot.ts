/** Stages of a start with the milliseconds each took. Stages that run at the same time each have their own. */
export class BootTimeline {
  readonly #started = performance.now();
  readonly #stages: { name: string; ms: number }[] = [];

  /** Runs one stage and notes how long it took. */
  async stage<T>(name: string, run: () => Promise<T>): Promise<T> {
    const started = performance.now();
    try {
      return await run();
    } finally {
      this.#stages.push({ name, ms: performance.now() - started });
    }
  }

  /** Such as `device 40 ms, model 210 ms, total 260 ms; 400 ms after the process started`. */
  describe(): string {
    const total = performance.now() - this.#started;
    const stages = [...this.#stages, { name: 'total', ms: total }].map(
      ({ name, ms }) => `${name} ${Math.round(ms)} ms`,
    );
    return `${stages.join(', ')}; ${Math.round(performance.now())} ms after the process started`;
  }
}
