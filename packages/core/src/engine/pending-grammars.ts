/** What the engine waits for while grammars are compiled and matched off its thread. */
export class PendingGrammars {
  readonly #pending = new Set<Promise<void>>();

  get isBusy(): boolean {
    return this.#pending.size > 0;
  }

  /** Calls one of the two when `promise` settles. Neither throws. */
  add(promise: Promise<unknown>, onDone: () => void, onFailure: (cause: unknown) => void): void {
    const pending: Promise<void> = promise.then(onDone, onFailure).then(() => {
      this.#pending.delete(pending);
    });
    this.#pending.add(pending);
  }

  /** Resolves when the next one has settled. */
  async next(): Promise<void> {
    await Promise.race(this.#pending);
  }
}
