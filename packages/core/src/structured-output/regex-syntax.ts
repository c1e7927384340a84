import { allChars, type CharSet, charSet, charsOf, complement, union } from './char-set.ts';
import { fail } from './structured-outputs.ts';

/** A regular expression as a tree. */
export type RegexNode =
  | { readonly kind: 'chars'; readonly set: CharSet }
  | { readonly kind: 'sequence'; readonly parts: readonly RegexNode[] }
  | { readonly kind: 'choice'; readonly options: readonly RegexNode[] }
  /** max null: without end. */
  | { readonly kind: 'repeat'; readonly node: RegexNode; readonly min: number; readonly max: number | null };

/** An alternative of the whole pattern, and whether it is bound to the start and the end of the text. */
export interface RegexAlternative {
  readonly node: RegexNode;
  readonly fromStart: boolean;
  readonly toEnd: boolean;
}

const MAX_DEPTH = 100;
const MAX_REPEAT = 10_000;

const digits = charSet([[0x30, 0x39]]);
const wordChars = union(
  digits,
  charsOf('_'),
  charSet([
    [0x41, 0x5a],
    [0x61, 0x7a],
  ]),
); // prettier-ignore
const spaces = charSet([
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x2028, 0x2029],
  [0xfeff, 0xfeff],
]); // prettier-ignore
const lineEnds = charsOf('\n\r\u2028\u2029');

const classes: Readonly<Record<string, CharSet>> = {
  d: digits,
  w: wordChars,
  s: spaces,
  D: complement(digits),
  W: complement(wordChars),
  S: complement(spaces),
};
const controls: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', f: '\f', v: '\v', 0: '\0' };

/**
 * Parses the regular part of JavaScript's expressions, in one pass from left to right. Look-around, back references, word
 * boundaries, Unicode properties, and anchors inside groups are not regular, or not done: they are errors that name the position.
 */
export function parseRegex(pattern: string, field: string): RegexAlternative[] {
  return new RegexParser(pattern, field).parse();
}

class RegexParser {
  readonly #chars: readonly string[];
  readonly #field: string;
  #at = 0;
  #depth = 0;

  constructor(pattern: string, field: string) {
    this.#chars = Array.from(pattern);
    this.#field = field;
  }

  parse(): RegexAlternative[] {
    const alternatives = [this.#topAlternative()];
    while (this.#take('|')) alternatives.push(this.#topAlternative());
    if (this.#at < this.#chars.length) this.#fault(`"${this.#chars[this.#at]}" has no opening bracket`);
    return alternatives;
  }

  #topAlternative(): RegexAlternative {
    const fromStart = this.#take('^');
    const node = this.#sequence();
    return { node, fromStart, toEnd: this.#take('$') };
  }

  #choice(): RegexNode {
    if (++this.#depth > MAX_DEPTH) this.#fault(`groups are nested more than ${MAX_DEPTH} deep`);
    const options = [this.#sequence()];
    while (this.#take('|')) options.push(this.#sequence());
    this.#depth--;
    return options.length === 1 ? options[0]! : { kind: 'choice', options };
  }

  #sequence(): RegexNode {
    const parts: RegexNode[] = [];
    while (this.#at < this.#chars.length && !'|)'.includes(this.#chars[this.#at]!)) {
      if (this.#chars[this.#at] === '$') break;
      parts.push(this.#quantified());
    }
    return parts.length === 1 ? parts[0]! : { kind: 'sequence', parts };
  }

  #quantified(): RegexNode {
    let node = this.#atom();
    for (let bounds = this.#quantifier(); bounds !== null; bounds = this.#quantifier()) {
      // Lazy and greedy match the same texts; possessive ones do not.
      this.#take('?');
      if (this.#chars[this.#at] === '+') this.#fault('possessive quantifiers are not supported');
      node = { kind: 'repeat', node, min: bounds[0], max: bounds[1] };
    }
    return node;
  }

  #quantifier(): [number, number | null] | null {
    if (this.#take('*')) return [0, null];
    if (this.#take('+')) return [1, null];
    if (this.#take('?')) return [0, 1];
    const braces = /^\{(\d{1,6})(,(\d{0,6}))?\}/.exec(this.#chars.slice(this.#at, this.#at + 16).join(''));
    if (braces === null) return null;
    const min = Number(braces[1]);
    const max = braces[2] === undefined ? min : braces[3] === '' ? null : Number(braces[3]);
    if (max !== null && max < min) this.#fault(`a repetition of at least ${min} and at most ${max}`);
    if (Math.max(min, max ?? 0) > MAX_REPEAT) this.#fault(`repetitions above ${MAX_REPEAT} are not supported`);
    this.#at += braces[0].length;
    return [min, max];
  }

  #atom(): RegexNode {
    const char = this.#chars[this.#at]!;
    if (char === '(') return this.#group();
    if (char === '[') return { kind: 'chars', set: this.#bracket() };
    if (char === '^') this.#fault('^ is only supported at the start');
    if ('*+?'.includes(char) || this.#quantifier() !== null) this.#fault(`"${char}" has nothing to repeat`);
    this.#at++;
    if (char === '.') return { kind: 'chars', set: complement(lineEnds) };
    return { kind: 'chars', set: char === '\\' ? this.#escape(false) : charsOf(char) };
  }

  #group(): RegexNode {
    const start = this.#at++;
    if (this.#take('?')) {
      const isNamed = this.#chars[this.#at] === '<' && !'=!'.includes(this.#chars[this.#at + 1] ?? '=');
      if (isNamed) this.#skipName();
      else if (!this.#take(':')) this.#fault('look-around and flags in groups are not supported', start);
    }
    const node = this.#choice();
    if (this.#chars[this.#at] === '$') this.#fault('$ is only supported at the end');
    if (!this.#take(')')) this.#fault('"(" is not closed', start);
    return node;
  }

  #skipName(): void {
    const end = this.#chars.indexOf('>', this.#at);
    if (end < 0) this.#fault('the name of a group is not closed');
    this.#at = end + 1;
  }

  #bracket(): CharSet {
    const start = this.#at++;
    const isNegated = this.#take('^');
    const sets: CharSet[] = [];
    while (this.#chars[this.#at] !== ']') {
      if (this.#at >= this.#chars.length) this.#fault('"[" is not closed', start);
      sets.push(this.#bracketItem());
    }
    this.#at++;
    const set = union(...sets);
    return isNegated ? complement(set) : set;
  }

  #bracketItem(): CharSet {
    const first = this.#bracketChar();
    const isRange = this.#chars[this.#at] === '-' && ![']', undefined].includes(this.#chars[this.#at + 1]);
    if (!isRange) return first;
    this.#at++;
    const last = this.#bracketChar();
    const [low, high] = [singleChar(first), singleChar(last)];
    if (low === null || high === null || low > high) this.#fault('a range of characters that has no order');
    return charSet([[low, high]]);
  }

  #bracketChar(): CharSet {
    const char = this.#chars[this.#at++];
    if (char === undefined) return this.#fault('"[" is not closed');
    return char === '\\' ? this.#escape(true) : charsOf(char);
  }

  /** The character or class after a backslash. */
  #escape(inBracket: boolean): CharSet {
    const char = this.#chars[this.#at++];
    if (char === undefined) return this.#fault('the pattern ends with a backslash');
    const known = classes[char];
    if (known !== undefined) return known;
    if (char === 'b' && inBracket) return charsOf('\b');
    if (char === 'x') return this.#hex(/^[0-9A-Fa-f]{2}/);
    if (char === 'u') return this.#hex(this.#chars[this.#at] === '{' ? /^\{[0-9A-Fa-f]{1,6}\}/ : /^[0-9A-Fa-f]{4}/);
    if (Object.hasOwn(controls, char) && !/\d/.test(this.#chars[this.#at] ?? '')) return charsOf(controls[char]!);
    if (/[A-Za-z0-9]/.test(char)) this.#fault(`\\${char} is not supported`, this.#at - 2);
    return charsOf(char);
  }

  #hex(form: RegExp): CharSet {
    const found = form.exec(this.#chars.slice(this.#at, this.#at + 8).join(''));
    const code = Number.parseInt(found?.[0].replace(/[{}]/g, '') ?? '', 16);
    const isChar = code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
    if (found === null || !isChar) return this.#fault('an escape that names no character');
    this.#at += found[0].length;
    return charSet([[code, code]]);
  }

  #take(char: string): boolean {
    if (this.#chars[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  #fault(problem: string, at = this.#at): never {
    return fail(this.#field, `has a pattern that cannot be used: ${problem}, at character ${at}`);
  }
}

function singleChar(set: CharSet): number | null {
  const [range] = set;
  return set.length === 1 && range![0] === range![1] ? range![0] : null;
}

/** The language of a pattern that is searched for, as JSON schema does: what is not anchored may have anything around it. */
export function searched(alternatives: readonly RegexAlternative[]): RegexNode {
  const anything: RegexNode = { kind: 'repeat', node: { kind: 'chars', set: allChars }, min: 0, max: null };
  const options = alternatives.map(({ node, fromStart, toEnd }): RegexNode => {
    const parts = [...(fromStart ? [] : [anything]), node, ...(toEnd ? [] : [anything])];
    return parts.length === 1 ? node : { kind: 'sequence', parts };
  });
  return options.length === 1 ? options[0]! : { kind: 'choice', options };
}

/** The language of a pattern that must match the whole text. */
export function whole(alternatives: readonly RegexAlternative[]): RegexNode {
  const options = alternatives.map(({ node }) => node);
  return options.length === 1 ? options[0]! : { kind: 'choice', options };
}
