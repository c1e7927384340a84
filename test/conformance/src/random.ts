/** Seeded numbers for the cases: the same on every machine. */

/** FNV-1a of a text, as a seed. */
export function seedOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** splitmix32 (Steele, Lea and Flood 2014, in 32 bits). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A u32. */
  word(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  }

  /** In [0, 1). */
  uniform(): number {
    return this.word() / 2 ** 32;
  }

  /** An integer in [from, to). */
  integer(from: number, to: number): number {
    return from + Math.floor(this.uniform() * (to - from));
  }

  /** Mean 0, deviation 1 (Box and Muller 1958). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  pick<T>(values: readonly T[]): T {
    return values[this.integer(0, values.length)]!;
  }

  /** `count` different integers in [from, to), in random order. */
  distinct(count: number, from: number, to: number): number[] {
    const taken = new Set<number>();
    if (count > to - from) throw new RangeError(`${count} different integers in [${from}, ${to})`);
    if (2 * count > to - from)
      return this.shuffle(Array.from({ length: to - from }, (_, i) => from + i)).slice(0, count);
    while (taken.size < count) taken.add(this.integer(from, to));
    return [...taken];
  }

  shuffle<T>(values: T[]): T[] {
    for (let i = values.length - 1; i > 0; i--) {
      const j = this.integer(0, i + 1);
      [values[i], values[j]] = [values[j]!, values[i]!];
    }
    return values;
  }
}

/**
 * Kinds of data. `outliers`: one in 50 is a thousand times larger, as in the activations of trained models. `ties`: few
 * values, many times each. `wide`: magnitudes from 2^-20 to 2^20. `offset`: a common mean of 100.
 */
export type Pattern = 'normal' | 'outliers' | 'zeros' | 'ties' | 'wide' | 'offset' | 'sparse';
export const patterns: readonly Pattern[] = ['normal', 'outliers', 'ties', 'wide', 'offset', 'sparse'];
/** Those whose values f16 holds. */
export const halfPatterns: readonly Pattern[] = patterns.filter(pattern => pattern !== 'wide');

const draw: Readonly<Record<Pattern, (random: Random) => number>> = {
  normal: random => random.normal(),
  outliers: random => random.normal() * (random.integer(0, 50) === 0 ? 1000 : 1),
  zeros: () => 0,
  ties: random => random.integer(-3, 4) / 2,
  wide: random => random.normal() * 2 ** random.integer(-20, 21),
  offset: random => 100 + random.normal(),
  sparse: random => (random.integer(0, 8) === 0 ? random.normal() : 0),
};

/** `count` f32 values of a pattern, times `scale`. */
export function floats(random: Random, count: number, pattern: Pattern = 'normal', scale = 1): Float32Array {
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) values[i] = draw[pattern](random) * scale;
  return values;
}
