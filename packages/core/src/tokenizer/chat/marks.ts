import { InvalidRequestError } from '../../errors.ts';
import type { TextRanges } from '../added-tokens.ts';

/** Text, and which parts of it came from the request rather than from the template. */
export interface MarkedText {
  readonly text: string;
  readonly untrusted: TextRanges;
}

/** Role names that a template may build a special token around, such as `'<|' + role + '|>'`. */
const roles: ReadonlySet<string> = new Set([
  'system',
  'developer',
  'user',
  'assistant',
  'tool',
  'function',
  'ipython',
  'model',
]);

const mappingMethods: ReadonlySet<string> = new Set(['get', 'items', 'keys', 'values', 'dictsort']);

/**
 * Code units that mark where text of the request begins and ends while a template runs: noncharacters or private-use characters
 * that occur nowhere in the input. Concatenation keeps marks in place; every other operation works on text without them, and its
 * result is marked as a whole. Marks never nest and never enclose nothing, so that a marked text is empty only when it is ''.
 */
export class Marks {
  readonly open: string;
  readonly close: string;
  readonly #names: ReadonlySet<string>;

  /** `texts`: all strings that may reach the output. `names`: those that the template itself has. */
  constructor(texts: Iterable<string>, names: ReadonlySet<string>) {
    this.#names = names;
    const taken = new Set<string>();
    for (const text of texts) for (const [char] of text.matchAll(/[\ufdd0-\ufdef\ue000-\uf8ff]/g)) taken.add(char);
    const [open, close] = unusedPair(taken);
    this.open = open;
    this.close = close;
  }

  /** Marks plain text that comes from the request. */
  mark(text: string): string {
    return text === '' ? text : this.open + text + this.close;
  }

  /** Marks a result made of marked text. The name of a role stays plain: it can spell no special token by itself. */
  markResult(text: string): string {
    return roles.has(text) ? text : this.mark(text);
  }

  markRole(role: string): string {
    return this.markResult(role);
  }

  /** A key of a mapping. Those that the template names stay plain, so that it finds them; but for methods, which it finds then. */
  markKey(key: string): string {
    return this.#names.has(key) && !mappingMethods.has(key) ? key : this.mark(key);
  }

  /** How a mapping has a key, plain or marked. */
  keyIn(mapping: { has(key: string): boolean }, key: string): string {
    const marked = this.mark(key);
    return !mapping.has(key) && mapping.has(marked) ? marked : key;
  }

  has(text: string): boolean {
    return text.includes(this.open);
  }

  strip(text: string): string {
    return this.has(text) ? text.replaceAll(this.open, '').replaceAll(this.close, '') : text;
  }

  /** Python's `strip` and its one-sided forms, of white space or of `chars`, with the marks left where they are. */
  trim(text: string, left: boolean, right: boolean, chars: string | null = null): string {
    const kept = { start: '', end: '' };
    const isTrimmed = (char: string) =>
      this.#isMark(char) || (chars === null ? char.trim() === '' : chars.includes(char));
    let from = 0;
    let to = text.length;
    for (; left && from < to && isTrimmed(text[from]!); from++) if (this.#isMark(text[from]!)) kept.start += text[from];
    for (; right && to > from && isTrimmed(text[to - 1]!); to--)
      if (this.#isMark(text[to - 1]!)) kept.end = text[to - 1] + kept.end;
    return (kept.start + text.slice(from, to) + kept.end).replaceAll(this.open + this.close, '');
  }

  /** The text without marks, and the ranges that they enclosed. */
  resolve(marked: string): MarkedText {
    const untrusted: [number, number][] = [];
    const parts: string[] = [];
    let length = 0;
    let at = 0;
    while (at < marked.length) {
      const open = indexOrEnd(marked, this.open, at);
      const close = indexOrEnd(marked, this.close, open);
      const plain = marked.slice(at, open);
      const inside = marked.slice(open + 1, close);
      parts.push(plain, inside);
      if (inside !== '') untrusted.push([length + plain.length, length + plain.length + inside.length]);
      length += plain.length + inside.length;
      at = close + 1;
    }
    return { text: parts.join(''), untrusted };
  }

  #isMark(char: string): boolean {
    return char === this.open || char === this.close;
  }
}

function indexOrEnd(text: string, char: string, from: number): number {
  const index = text.indexOf(char, from);
  return index < 0 ? text.length : index;
}

function unusedPair(taken: ReadonlySet<string>): [string, string] {
  const free: string[] = [];
  for (let unit = 0xfdd0; unit <= 0xfdef && free.length < 2; unit++)
    if (!taken.has(String.fromCharCode(unit))) free.push(String.fromCharCode(unit));
  for (let unit = 0xe000; unit <= 0xf8ff && free.length < 2; unit++)
    if (!taken.has(String.fromCharCode(unit))) free.push(String.fromCharCode(unit));
  if (free.length === 2) return [free[0]!, free[1]!];
  throw new InvalidRequestError(
    'The messages use every private-use character of Unicode. Send fewer of them.',
    'messages',
  );
}
