/** A token that is found in text before the model sees it, named as in tokenizer.json. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  /** Found in the normalised text, with its own spelling normalised. */
  readonly normalized: boolean;
  /** Takes the white space before it, or after it, with it. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** Not found inside a word. */
  readonly singleWord: boolean;
}

/** A stretch of text without added tokens, or one added token. Offsets are in UTF-16 code units. */
export type Section = { readonly text: string; readonly start: number } | { readonly id: number };

/** Half-open ranges of text in UTF-16 code units, ascending, not overlapping. */
export type TextRanges = readonly (readonly [start: number, end: number])[];

interface TrieNode {
  readonly children: Map<number, TrieNode>;
  token: AddedToken | null;
}

const wordBefore = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]$/u;
const wordAfter = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]/u;
const isSpace = /\p{White_Space}/u;

/** Finds added tokens in text: leftmost first, the longest of those that begin together. */
export class AddedTokenMatcher {
  readonly #root: TrieNode = { children: new Map(), token: null };

  /** `spelling`: what to look for, where it is not the token's content. */
  constructor(tokens: readonly AddedToken[], spelling: (token: AddedToken) => string = token => token.content) {
    for (const token of tokens) this.#insert(spelling(token), token);
  }

  /** Cuts text into sections. Special tokens that touch one of the `untrusted` ranges are left as text. */
  split(text: string, untrusted: TextRanges = []): Section[] {
    const sections: Section[] = [];
    if (this.#root.children.size === 0) return text === '' ? sections : [{ text, start: 0 }];
    const guard = new RangeCursor(untrusted);
    let start = 0;
    let at = 0;
    while (at < text.length) {
      const token = this.#tokenAt(text, at, guard);
      if (token === null) {
        at++;
        continue;
      }
      const end = at + token.length;
      const from = token.found.lstrip ? spaceBefore(text, at, start) : at;
      if (from > start) sections.push({ text: text.slice(start, from), start });
      sections.push({ id: token.found.id });
      start = token.found.rstrip ? spaceAfter(text, end) : end;
      at = start;
    }
    if (start < text.length) sections.push({ text: text.slice(start), start });
    return sections;
  }

  #insert(spelling: string, token: AddedToken): void {
    if (spelling === '') return;
    let node = this.#root;
    for (let i = 0; i < spelling.length; i++) {
      const unit = spelling.charCodeAt(i);
      let child = node.children.get(unit);
      if (child === undefined) {
        child = { children: new Map(), token: null };
        node.children.set(unit, child);
      }
      node = child;
    }
    node.token ??= token;
  }

  #tokenAt(text: string, at: number, guard: RangeCursor): { found: AddedToken; length: number } | null {
    let best: { found: AddedToken; length: number } | null = null;
    let node = this.#root.children.get(text.charCodeAt(at));
    for (let end = at + 1; node !== undefined; end++) {
      const token = node.token;
      if (token !== null && isAllowed(token, text, at, end, guard)) best = { found: token, length: end - at };
      if (end >= text.length) break;
      node = node.children.get(text.charCodeAt(end));
    }
    return best;
  }
}

function isAllowed(token: AddedToken, text: string, start: number, end: number, guard: RangeCursor): boolean {
  if (token.special && guard.touches(start, end)) return false;
  if (!token.singleWord) return true;
  return !wordBefore.test(text.slice(Math.max(0, start - 2), start)) && !wordAfter.test(text.slice(end, end + 2));
}

/** The start of the white space that ends at `at`, not before `limit`. */
export function spaceBefore(text: string, at: number, limit: number): number {
  let from = at;
  while (from > limit && isSpace.test(text[from - 1]!)) from--;
  return from;
}

/** The end of the white space that begins at `at`. */
export function spaceAfter(text: string, at: number): number {
  let to = at;
  while (to < text.length && isSpace.test(text[to]!)) to++;
  return to;
}

/** Answers whether a stretch touches a range, for stretches whose starts do not decrease. */
class RangeCursor {
  readonly #ranges: TextRanges;
  #at = 0;

  constructor(ranges: TextRanges) {
    this.#ranges = ranges;
  }

  touches(start: number, end: number): boolean {
    while (this.#at < this.#ranges.length && this.#ranges[this.#at]![1] <= start) this.#at++;
    return this.#at < this.#ranges.length && this.#ranges[this.#at]![0] < end;
  }
}
