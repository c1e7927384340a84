/** The sampler's noise in f64, written from the definition, to tell how close two candidates were. */

const M0 = 0xd2511f53n;
const M1 = 0xcd9e8d57n;
const W0 = 0x9e3779b9;
const W1 = 0xbb67ae85;

/** Philox 4x32-10 (Salmon, Moraes, Dror and Shaw 2011). */
export function philox4x32(counter: readonly number[], key: readonly number[]): number[] {
  let [x0, x1, x2, x3] = counter.map(word => word >>> 0) as [number, number, number, number];
  let [k0, k1] = key.map(word => word >>> 0) as [number, number];
  for (let round = 0; round < 10; round++) {
    const p0 = M0 * BigInt(x0);
    const p1 = M1 * BigInt(x2);
    const [high0, low0] = [Number(p0 >> 32n), Number(p0 & 0xffffffffn)];
    const [high1, low1] = [Number(p1 >> 32n), Number(p1 & 0xffffffffn)];
    [x0, x1, x2, x3] = [(high1 ^ x1 ^ k0) >>> 0, low1, (high0 ^ x3 ^ k1) >>> 0, low0];
    [k0, k1] = [(k0 + W0) >>> 0, (k1 + W1) >>> 0];
  }
  return [x0, x1, x2, x3];
}

/** Gumbel noise of a token at a position, and how far f32 may be from it: log is good to 2^-21 near 1. */
export function gumbel(
  seed: readonly [low: number, high: number],
  position: number,
  id: number,
): { value: number; error: number } {
  const word = philox4x32([Math.floor(id / 4), position, 0, 0], seed)[id % 4]!;
  const uniform = Math.min((word + 0.5) / 2 ** 32, 1 - 2 ** -24);
  const series = uniform < 2 ** -10;
  const exponential = series ? uniform * (1 + uniform * (1 / 2 + uniform / 3)) : -Math.log1p(-uniform);
  const value = -Math.log(exponential);
  return { value, error: (series ? 1e-6 : 2 ** -21 / exponential) + 4e-6 + 4e-7 * Math.abs(value) };
}
