import { u } from './checks.ts';

/**
 * How far an f32 dot product in any order may be from the true one: 8u sum |a||b| (measured 2.3u on normal data), and where
 * outliers make the partial sums large a random walk of their roundings, 2u sqrt(length) max |a||b| (measured 0.9u). `spread`: how far
 * each a may be off.
 */
export function dotBound(
  a: ArrayLike<number>,
  aStart: number,
  b: ArrayLike<number>,
  bStart: number,
  length: number,
  spread?: ArrayLike<number>,
): number {
  let [sum, largest, shifted] = [0, 0, 0];
  for (let i = 0; i < length; i++) {
    const product = Math.abs(a[aStart + i]! * b[bStart + i]!);
    sum += product;
    if (product > largest) largest = product;
    if (spread !== undefined) shifted += spread[aStart + i]! * Math.abs(b[bStart + i]!);
  }
  return 8 * u * sum + 2 * u * Math.sqrt(length) * largest + shifted;
}
