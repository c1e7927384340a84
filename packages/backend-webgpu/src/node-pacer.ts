import type { Pacer } from './read-back.ts';

/** Shorter waits are left to Dawn: a timer is not more exact than this. */
const SHORTEST_SLEEP_MS = 2;
const LONGEST_SLEEP_MS = 500;
/** Part of the expected time that is slept; the rest is left to Dawn, which answers at once. */
const SHARE = 0.8;

/**
 * While a promise of Dawn is pending in Node, the main thread polls at full speed, which on a small machine takes a core from
 * a software adapter. So sleep through most of the time that such waits have taken lately, and only then ask.
 */
export class AdaptivePacer implements Pacer {
  #expected = 0;

  async around(finish: () => Promise<unknown>): Promise<void> {
    const start = performance.now();
    const sleep = Math.min(this.#expected * SHARE, LONGEST_SLEEP_MS);
    if (sleep >= SHORTEST_SLEEP_MS) await new Promise(resolve => setTimeout(resolve, sleep));
    const asked = performance.now();
    await finish();
    const end = performance.now();
    // Answered at once: it was done before, nobody knows when. Otherwise the whole time is known.
    const overslept = end - asked < 0.3;
    this.#expected = overslept ? this.#expected * 0.8 : 0.5 * this.#expected + 0.5 * (end - start);
  }
}
