import type { RequestGroup } from '@quire/core';
import { makeWay } from '../event-loop.ts';

/** Streams that write in one turn of the event loop: some milliseconds of work. */
const SLICE = 32;

/**
 * Wakes streams that have something to write, in slices with the event loop's other work between them: a step of a thousand requests
 * must not hold up who asks for /health. A stream that waits for its turn takes what came meanwhile in the same write.
 */
export class Wakes {
  readonly #groups = new Set<RequestGroup>();
  #isDue = false;

  add(group: RequestGroup): void {
    this.#groups.add(group);
  }

  /** The first slice is woken at once. */
  flush(): void {
    if (!this.#isDue) this.#wakeSlice();
  }

  #wakeSlice(): void {
    let left = SLICE;
    for (const group of this.#groups) {
      if (left-- === 0) break;
      this.#groups.delete(group);
      group.notify();
    }
    this.#isDue = this.#groups.size > 0;
    if (this.#isDue) makeWay(() => this.#wakeSlice());
  }
}
