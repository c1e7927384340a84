/** Where the page is that shows them. */
export const DASHBOARD_PATH = '/ui/';

type Watcher = (trace: string) => void;

/** The steps of an engine, for those who watch. The engine is told when the first comes and when the last has gone. */
export class StepFeed {
  readonly #watchers = new Set<Watcher>();
  readonly #watchSteps: (isWatched: boolean) => void;

  constructor(watchSteps: (isWatched: boolean) => void) {
    this.#watchSteps = watchSteps;
  }

  get numWatchers(): number {
    return this.#watchers.size;
  }

  /** Returns what ends it. */
  watch(watcher: Watcher): () => void {
    this.#watchers.add(watcher);
    if (this.#watchers.size === 1) this.#watchSteps(true);
    return () => {
      if (this.#watchers.delete(watcher) && this.#watchers.size === 0) this.#watchSteps(false);
    };
  }

  /** `trace`: a StepTrace as JSON, in one line. */
  publish(trace: string): void {
    for (const watcher of this.#watchers) watcher(trace);
  }
}
