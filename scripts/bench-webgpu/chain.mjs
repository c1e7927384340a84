/** Timing of products in chains: what a run costs beside them (copies to and from the device) cancels out. */
import { readdirSync, readFileSync } from 'node:fs';

const SHORT = 1;
const LONG = 9;
const ROUNDS = 20;
/** Milliseconds after which no further round begins. */
const ENOUGH = 1500;

/**
 * Milliseconds of one link: the time of a chain of nine less that of one, by eight; the least of a few rounds of each, after one
 * that compiles. `processor`: the same of processor time. `make(length)` gives { run, end }.
 */
export async function perLink(make) {
  const [short, long] = [await least(await make(SHORT)), await least(await make(LONG))];
  const link = name => (long[name] - short[name]) / (LONG - SHORT);
  return { ms: link('ms'), processor: link('processor') };
}

async function least({ run, end }) {
  await run();
  const best = { ms: Infinity, processor: Infinity };
  const began = performance.now();
  for (let round = 0; round < ROUNDS && performance.now() - began < ENOUGH; round++) take(best, await timed(run));
  await end();
  return best;
}

/** Of `best` and a measurement, the lesser of each. */
export function take(best, { ms, processor }) {
  best.ms = Math.min(best.ms, ms);
  best.processor = Math.min(best.processor, processor);
}

export async function timed(run) {
  const [start, before] = [performance.now(), processorTime()];
  await run();
  return { ms: performance.now() - start, processor: processorTime() - before };
}

/**
 * Milliseconds that all threads but the main one have run, which polls while it waits: on an adapter in software what the device has
 * computed, however busy the machine is. NaN where the system does not tell (it is Linux that does).
 */
function processorTime() {
  try {
    const threads = readdirSync('/proc/self/task').filter(thread => Number(thread) !== process.pid);
    const nanoseconds = threads.map(thread =>
      Number(readFileSync(`/proc/self/task/${thread}/schedstat`, 'utf8').split(' ')[0]),
    );
    return nanoseconds.reduce((sum, time) => sum + time, 0) / 1e6;
  } catch {
    return Number.NaN;
  }
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
