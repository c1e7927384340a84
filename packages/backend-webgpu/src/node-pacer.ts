import type { Pacer } from './read-back.ts';

/** Shorter waits are left to Dawn: a timer is not more exact than this. */
const SHORTEST_SLEEP_MS = 2;
const LONGEST_SLEEP_MS = 500;
/** Part of the expected time that is slept; the rest is left to Dawn, which answers at once. */
const SHARE = 0.8;
/** An answer within this after a sleep was there before. */
const AT_ONCE_MS = 0.3;
/** How far an expectation follows a wait that was longer: one slow step must not make the next ones sleep. */
const UPWARDS = 0.2;
const COPIES = -1;

/**
 * While a promise of Dawn is pending in Node, the main thread polls at full speed, which on a small machine takes a core from
 * a software adapter. So sleep through most of the time that such waits have taken lately, and only then ask. What is expected is
 * kept by the amount of work, so that a prompt says nothing about a step of decoding.
 */
export class AdaptivePacer implements Pacer {
  /** Milliseconds by the power of two of the tokens; undefined after a first wait, which compiles and tells nothing. */
  readonly #expected = new Map<number, number | undefined>();
  #tokens = 0;

  queued(tokens: number): void {
    this.#tokens += tokens;
  }

  async around(finish: () => Promise<unknown>): Promise<void> {
    const kind = this.#tokens === 0 ? COPIES : Math.floor(Math.log2(this.#tokens));
    this.#tokens = 0;
    const start = performance.now();
    const expected = this.#expected.get(kind);
    const sleep = Math.min((expected ?? 0) * SHARE, LONGEST_SLEEP_MS);
    const slept = sleep >= SHORTEST_SLEEP_MS;
    if (slept) await new Promise(resolve => setTimeout(resolve, sleep));
    const asked = performance.now();
    await finish();
    const end = performance.now();
    const overslept = slept && end - asked < AT_ONCE_MS;
    const next = this.#expected.has(kind) ? learn(expected, end - start, overslept) : undefined;
    this.#expected.set(kind, next);
  }
}

/** What to expect after a wait of `took`; one that was overslept took less, nobody knows how much. */
function learn(expected: number | undefined, took: number, overslept: boolean): number {
  if (expected === undefined) return took;
  if (overslept) return Math.min(expected, took) / 2;
  return took < expected ? took : expected + UPWARDS * (took - expected);
}
