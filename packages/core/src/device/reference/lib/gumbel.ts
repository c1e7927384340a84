import { philox } from './philox.ts';

const counter = new Uint32Array(4);

/**
 * into[i] = standard Gumbel noise of token id i, for i < count: keyed by the row's seed and the position of the token to be
 * sampled, so it does not depend on batch, row or step.
 */
export function gumbelNoise(
  seedLow: number,
  seedHigh: number,
  position: number,
  count: number,
  into: Float64Array,
): void {
  for (let id = 0; id < count; id += 4) {
    counter[0] = id >>> 2;
    counter[1] = position;
    counter[2] = 0;
    counter[3] = 0;
    philox(counter, seedLow, seedHigh);
    const words = Math.min(4, count - id);
    for (let word = 0; word < words; word++) into[id + word] = gumbel(counter[word]!);
  }
}

/** Gumbel noise of a random word: -log(-log(1 - u)) with u in (0, 1), by a series where 1 - u would lose digits in f32. */
export function gumbel(word: number): number {
  const u = Math.min((word + 0.5) * 2 ** -32, 1 - 2 ** -24);
  const exponential = u < 2 ** -10 ? u * (1 + u * (1 / 2 + u / 3)) : -Math.log(1 - u);
  return -Math.log(exponential);
}
