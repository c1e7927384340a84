/** Stages of a start with the milliseconds each took. Stages that run at the same time each have their own. */
export class BootTimeline {
  readonly #started = performance.now();
  readonly #stages: { name: string; ms: number }[] = [];

  /** A stage is done. */
  add(name: string, ms: number): void {
    this.#stages.push({ name, ms });
  }

  /** Such as `device 40 ms, weights (1.20 GB/s) 80 ms, model 210 ms, total 260 ms; 400 ms after the process started`. */
  describe(): string {
    const total = performance.now() - this.#started;
    const stages = [...this.#stages, { name: 'total', ms: total }].map(
      ({ name, ms }) => `${name} ${Math.round(ms)} ms`,
    );
    return `${stages.join(', ')}; ${Math.round(performance.now())} ms after the process started`;
  }
}
