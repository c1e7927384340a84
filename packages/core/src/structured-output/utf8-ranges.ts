import type { CharSet } from './char-set.ts';

/** Bytes [first, last]. */
export type ByteRange = readonly [number, number];

/** Greatest code points of one, two, three and four bytes. */
const LIMITS = [0x7f, 0x7ff, 0xffff, 0x10ffff];

/** The UTF-8 of a set of characters, as sequences of byte ranges (Cox, "Regular Expression Matching in the Wild", 2010). */
export function utf8Sequences(set: CharSet): ByteRange[][] {
  return set.flatMap(([first, last]) => ofRange(first, last));
}

function ofRange(first: number, last: number): ByteRange[][] {
  for (const limit of LIMITS) {
    if (first <= limit && last > limit) return [...ofRange(first, limit), ...ofRange(limit + 1, last)];
  }
  // Bytes after the first must range freely below the first byte in which the ends differ.
  for (let bits = 6; bits < 8 * (length(first) - 1); bits += 6) {
    const low = 2 ** bits - 1;
    if (first >> bits === last >> bits) continue;
    if ((first & low) !== 0) return [...ofRange(first, first | low), ...ofRange((first | low) + 1, last)];
    if ((last & low) !== low) return [...ofRange(first, (last & ~low) - 1), ...ofRange(last & ~low, last)];
  }
  const [from, to] = [encode(first), encode(last)];
  return [from.map((byte, i) => [byte, to[i]!] as const)];
}

function length(code: number): number {
  return LIMITS.findIndex(limit => code <= limit) + 1;
}

function encode(code: number): number[] {
  const count = length(code);
  if (count === 1) return [code];
  const tail = Array.from({ length: count - 1 }, (_, i) => 0x80 | ((code >> (6 * (count - 2 - i))) & 0x3f));
  const mark = (0xf00 >> count) & 0xff;
  return [mark | (code >> (6 * (count - 1))), ...tail];
}
