/** Engines that ended without having computed anything, one after another, after which no further one is started. */
const MAX_FRUITLESS = 16;
/** The same for engines that could not be opened. */
const MAX_REFUSED = 5;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5000;

/** When the next engine is started after one ended. */
export class RestartPolicy {
  #fruitless = 0;
  #refused = 0;
  /** Engines that ended. */
  count = 0;

  /** An engine computed something. */
  progressed(): void {
    this.#fruitless = 0;
    this.#refused = 0;
  }

  /** An engine ended. Returns the milliseconds to wait, none after one that had worked; or null to give up. `wasOpen`: it had taken requests. */
  ended(wasOpen: boolean): number | null {
    this.count++;
    this.#fruitless++;
    this.#refused = wasOpen ? 0 : this.#refused + 1;
    if (this.#fruitless > MAX_FRUITLESS || this.#refused > MAX_REFUSED) return null;
    return this.#fruitless === 1 ? 0 : Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (this.#fruitless - 2));
  }
}
