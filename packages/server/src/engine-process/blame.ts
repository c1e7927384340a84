/** Engines that a request may take with it, without a token in between and the last time alone, before it is given up. */
export const MAX_KILLS = 3;

/** The same for one that the engine did not come to, for want of its grammar, each time alone with it: little speaks against it. */
export const MAX_WAITS = 4;

/**
 * Finds the request that ends engines. All that an engine had are suspected when it ends; progress acquits. Those that were there
 * twice are tried one at a time: so the one at fault fails by itself, and costs no one else anything but time.
 */
export class Blame<R extends object> {
  readonly #kills = new Map<R, number>();
  /** Engines that ended with a request alone in them before they came to it. */
  readonly #waits = new Map<R, number>();
  /** The furthest that any engine came with a request. */
  readonly #reached = new WeakMap<R, number>();

  /**
   * The engine ended with these requests in it. `waited`: whether it had not come to a request, which waited for its grammar.
   * Returns the one to be given up, or null.
   */
  ended(requests: Iterable<R>, waited: (request: R) => boolean = () => false): R | null {
    const all = [...requests];
    const [first] = all;
    if (all.length === 1 && this.#isTried(first!)) return this.#endedAlone(first!, waited(first!));
    // One that is tried beside requests acquitted before it may not even have arrived: it stays on trial, by itself next time.
    for (const request of all) if (!this.#isTried(request)) add(this.#kills, request);
    return null;
  }

  #endedAlone(request: R, hasWaited: boolean): R | null {
    const isGuilty = hasWaited ? add(this.#waits, request) >= MAX_WAITS : add(this.#kills, request) >= MAX_KILLS;
    if (!isGuilty) return null;
    this.#forget(request);
    return request;
  }

  /** Whether an engine came further with a request than any before it. */
  advances(request: R, numComputed: number): boolean {
    if (numComputed <= (this.#reached.get(request) ?? 0)) return false;
    this.#reached.set(request, numComputed);
    return true;
  }

  /** The request gained a token, or is over. Returns whether it had been on trial. */
  acquit(request: R): boolean {
    if (this.#kills.size === 0) return false;
    const wasTried = this.#isTried(request);
    this.#forget(request);
    return wasTried;
  }

  /** Of the requests that an engine does not have yet, in order, those that it may get beside those that it has. */
  admit(waiting: readonly R[], inside: Iterable<R>): readonly R[] {
    if (this.#kills.size === 0) return waiting;
    const tried = waiting.find(request => this.#isTried(request));
    for (const request of inside) if (this.#isTried(request)) return [];
    return tried === undefined ? waiting : [tried];
  }

  #forget(request: R): void {
    this.#kills.delete(request);
    this.#waits.delete(request);
  }

  #isTried(request: R): boolean {
    return (this.#kills.get(request) ?? 0) >= MAX_KILLS - 1;
  }
}

/** Counts one more. */
function add<R>(counts: Map<R, number>, key: R): number {
  const count = (counts.get(key) ?? 0) + 1;
  counts.set(key, count);
  return count;
}
