/** A request of the load: its prompt as token ids, and how many tokens it is to generate. */
export interface LoadRequest {
  readonly promptTokenIds: number[];
  readonly outputTokens: number;
}

export type Random = () => number;

/** Numbers in [0, 1), the same for a seed in every language (mulberry32). */
export function mulberry32(seed: number): Random {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Mean and deviation of the logarithm. */
const INPUT = [4.898, 1.5] as const;
const OUTPUT = [4.643, 1.1] as const;
const [MIN_TOKENS, MAX_INPUT, MAX_TOKENS] = [4, 1024, 2048];

/**
 * Lengths of prompts and outputs as in conversations of ShareGPT after vLLM's filter: log-normal, with its bounds, at means of 202
 * and 179 tokens. `maxModelLen` bounds them further.
 */
export function shareGptLengths(
  count: number,
  random: Random,
  maxModelLen = MAX_TOKENS,
): { input: number; output: number }[] {
  const lengths: { input: number; output: number }[] = [];
  while (lengths.length < count) {
    const [input, output] = [logNormal(random, INPUT), logNormal(random, OUTPUT)];
    const fits = input <= MAX_INPUT && input + output <= Math.min(MAX_TOKENS, maxModelLen);
    if (input >= MIN_TOKENS && output >= MIN_TOKENS && fits) lengths.push({ input, output });
  }
  return lengths;
}

/** Rounded, by the cosine branch of Box and Muller. */
function logNormal(random: Random, [mean, deviation]: readonly [number, number]): number {
  const radius = Math.sqrt(-2 * Math.log(1 - random()));
  return Math.round(Math.exp(mean + deviation * radius * Math.cos(2 * Math.PI * random())));
}

/** Prompts of random ids between 10 and 999, which every vocabulary has: no prefix is shared. */
export function shareGptRequests(count: number, seed: number, maxModelLen: number): LoadRequest[] {
  const lengths = shareGptLengths(count, mulberry32(seed), maxModelLen);
  const random = mulberry32(seed + 1);
  return lengths.map(({ input, output }) => ({
    promptTokenIds: Array.from({ length: input }, () => 10 + Math.floor(random() * 990)),
    outputTokens: output,
  }));
}

/**
 * When each request arrives, in seconds from the start: a Poisson process whose last arrival is at count / rate exactly, as vLLM's
 * benchmark has it. An infinite rate: all at once.
 */
export function poissonArrivals(count: number, rate: number, random: Random): number[] {
  if (rate === Number.POSITIVE_INFINITY) return Array(count).fill(0);
  let time = 0;
  const arrivals = Array.from({ length: count }, () => {
    time += -Math.log(1 - random());
    return time;
  });
  return arrivals.map(arrival => (arrival * count) / rate / time);
}
