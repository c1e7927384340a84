/** Timing of products in chains: what a run costs beside them (copies to and from the device) cancels out. */
const SHORT = 1;
const LONG = 5;
const ROUNDS = 4;
/** Milliseconds after which no further round begins. */
const ENOUGH = 1500;

/**
 * Milliseconds of one link: the time of a chain of five less that of one, by four; the least of a few rounds of each, after one
 * that compiles. `make(length)` gives { run, end }.
 */
export async function perLink(make) {
  const [short, long] = [await least(await make(SHORT)), await least(await make(LONG))];
  return (long - short) / (LONG - SHORT);
}

async function least({ run, end }) {
  await run();
  let best = Infinity;
  const began = performance.now();
  for (let round = 0; round < ROUNDS && performance.now() - began < ENOUGH; round++) {
    const start = performance.now();
    await run();
    best = Math.min(best, performance.now() - start);
  }
  await end();
  return best;
}

/** Numbers whose products of `depth` terms keep the size of their factors: xorshift32 (Marsaglia 2003). */
export function uniform(count, depth) {
  let state = 1;
  const scale = Math.sqrt(3 / depth) / 2 ** 31;
  return Float32Array.from({ length: count }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return scale * state;
  });
}
