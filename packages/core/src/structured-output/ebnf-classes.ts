import { charSet, complement } from './char-set.ts';
import { charClass } from './ebnf.ts';

const controls: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', b: '\b', f: '\f', v: '\v', 0: '\0' };
const LAST_ASCII = 0x7f;

/**
 * A grammar whose classes of characters beyond ASCII, and all negated ones, are spelled out in UTF-8: see `charClass`. Strings and
 * comments are left alone, and so is what does not parse: the library says what is wrong with it.
 */
export function spellOutClasses(grammar: string): string {
  let result = '';
  for (let at = 0; at < grammar.length; ) {
    const end = grammar[at] === '[' ? classEnd(grammar, at) : skip(grammar, at);
    const piece = grammar.slice(at, end);
    result += piece[0] === '[' && piece.length > 1 ? spellOut(piece) : piece;
    at = end;
  }
  return result;
}

/** The index behind a string, a comment, or one character. */
function skip(grammar: string, at: number): number {
  if (grammar[at] === '#') {
    const end = grammar.indexOf('\n', at);
    return end < 0 ? grammar.length : end;
  }
  if (grammar[at] !== '"') return at + 1;
  let end = at + 1;
  while (end < grammar.length && grammar[end] !== '"') end += grammar[end] === '\\' ? 2 : 1;
  return end + 1;
}

function classEnd(grammar: string, at: number): number {
  let end = at + 1;
  while (end < grammar.length && grammar[end] !== ']') end += grammar[end] === '\\' ? 2 : 1;
  return end < grammar.length ? end + 1 : at + 1;
}

function spellOut(text: string): string {
  const isNegated = text[1] === '^';
  const codes = readCodes(text.slice(isNegated ? 2 : 1, -1));
  if (codes === null) return text;
  const ranges: [number, number][] = [];
  for (let i = 0; i < codes.length; i++) {
    const isRange = codes[i + 1] === '-' && codes[i + 2] !== undefined;
    const [first, last] = [codeOf(codes[i]!), codeOf(codes[isRange ? i + 2 : i]!)];
    if (first > last) return text;
    ranges.push([first, last]);
    if (isRange) i += 2;
  }
  const set = isNegated ? complement(charSet(ranges)) : charSet(ranges);
  if (set.length === 0 || (!isNegated && set.at(-1)![1] <= LAST_ASCII)) return text;
  return charClass(set);
}

function codeOf(code: number | '-'): number {
  return code === '-' ? 0x2d : code;
}

/** The characters of a class; a dash that is not escaped stays a dash. null when an escape is not known. */
function readCodes(text: string): (number | '-')[] | null {
  const codes: (number | '-')[] = [];
  const form = /\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([\s\S]))|([\s\S])/uy;
  while (form.lastIndex < text.length) {
    const found = form.exec(text);
    if (found === null) return null;
    const [, x, u, wide, escaped, plain] = found;
    const hex = x ?? u ?? wide;
    if (hex !== undefined) codes.push(Number.parseInt(hex, 16));
    else if (plain === '-') codes.push('-');
    else if (plain !== undefined) codes.push(plain.codePointAt(0)!);
    else if (/[A-Za-z0-9]/.test(escaped!) && !Object.hasOwn(controls, escaped!)) return null;
    else codes.push((controls[escaped!] ?? escaped!).codePointAt(0)!);
  }
  return codes.every(code => code === '-' || code <= 0x10ffff) ? codes : null;
}
