/** Sets of code points as sorted, disjoint ranges [first, last] that do not touch. */
export type CharSet = readonly (readonly [number, number])[];

export const MAX_CODE_POINT = 0x10ffff;

/** Surrogates are no characters: text cannot hold them. */
const SURROGATES: readonly [number, number] = [0xd800, 0xdfff];

export function charSet(ranges: readonly (readonly [number, number])[]): CharSet {
  const sorted = [...ranges].sort((a, b) => a[0] - b[0]);
  const merged: [number, number][] = [];
  for (const [first, last] of sorted) {
    const previous = merged.at(-1);
    if (previous !== undefined && first <= previous[1] + 1) previous[1] = Math.max(previous[1], last);
    else merged.push([first, last]);
  }
  return merged;
}

/** A set of the characters of a text. */
export function charsOf(text: string): CharSet {
  return charSet(Array.from(text, char => [char.codePointAt(0)!, char.codePointAt(0)!] as const));
}

export function union(...sets: readonly CharSet[]): CharSet {
  return charSet(sets.flat());
}

/** All characters that are not in the set. */
export function complement(set: CharSet): CharSet {
  const rest: [number, number][] = [];
  let next = 0;
  for (const [first, last] of union(set, [SURROGATES])) {
    if (first > next) rest.push([next, first - 1]);
    next = last + 1;
  }
  if (next <= MAX_CODE_POINT) rest.push([next, MAX_CODE_POINT]);
  return rest;
}

export function intersect(a: CharSet, b: CharSet): CharSet {
  return complement(union(complement(a), complement(b)));
}

export function subtract(a: CharSet, b: CharSet): CharSet {
  return intersect(a, complement(b));
}

export const allChars: CharSet = complement([]);
