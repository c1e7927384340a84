/** Requests that begin in one turn of the event loop: some milliseconds of work. */
const SLICE = 8;

interface Arrival {
  begin(): void;
  isGone(): boolean;
}

/**
 * Lets requests begin in the order in which they came, a slice in each turn of the event loop: a thousand that come at once must not hold
 * up streams, nor the connections behind them, of which Node takes one in each turn. None begins before a turn has passed, in which a
 * client that has left since is found out: a server that is behind must not work for those who gave up.
 */
export class Arrivals {
  #waiting: Arrival[] = [];

  /** Resolves when the request may begin, or its client is found gone. */
  turn(isGone: () => boolean): Promise<void> {
    return new Promise(begin => setImmediate(() => this.#add({ begin, isGone })));
  }

  #add(arrival: Arrival): void {
    this.#waiting.push(arrival);
    if (this.#waiting.length === 1) setImmediate(() => this.#letIn());
  }

  #letIn(): void {
    let [left, taken] = [SLICE, 0];
    for (const { begin, isGone } of this.#waiting) {
      if (left === 0) break;
      if (!isGone()) left--;
      taken++;
      begin();
    }
    this.#waiting = this.#waiting.slice(taken);
    if (this.#waiting.length > 0) setImmediate(() => this.#letIn());
  }
}
