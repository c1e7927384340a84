import { type CharSet, charSet, charsOf, intersect, subtract } from './char-set.ts';
import type { RegexNode } from './regex-syntax.ts';
import { fail } from './structured-outputs.ts';
import { type ByteRange, utf8Sequences } from './utf8-ranges.ts';

/** Text of grammars in the EBNF of the grammar library. */

/** Parts of a grammar once its repetitions are written out: beyond this it takes too long to compile. */
const MAX_PARTS = 50_000;

function escaped(code: number): string {
  const isPlain = (code >= 0x30 && code <= 0x39) || (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a);
  if (isPlain) return String.fromCharCode(code);
  return code > 0xffff ? `\\U${code.toString(16).padStart(8, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
}

export function literal(text: string): string {
  return `"${Array.from(text, char => escaped(char.codePointAt(0)!)).join('')}"`;
}

/**
 * Spellings of the characters of a set, as bytes of UTF-8: the library takes what a class names beyond ASCII for single bytes, so
 * the sequences are spelled out.
 */
function spellings(set: CharSet): string[] {
  const sequences = utf8Sequences(set);
  const ascii = sequences.filter(ranges => ranges.length === 1).map(([range]) => range!);
  const longer = sequences.filter(ranges => ranges.length > 1);
  const options = longer.map(ranges => ranges.map(range => byteClass([range])).join(' '));
  return ascii.length > 0 ? [byteClass(ascii), ...options] : options;
}

/** One character of a set. */
export function charClass(set: CharSet): string {
  return oneOf(spellings(set));
}

/** One of several sequences, in brackets where it needs them. */
function oneOf(options: readonly string[]): string {
  return choiceOf(options.map(option => (option.includes(' ') ? `(${option})` : option)));
}

/** A class of one byte would be read as a character again; 0xff, which no text has, keeps it a class. */
function byteClass(ranges: readonly ByteRange[]): string {
  const parts = ranges.map(([first, last]) => (first === last ? escaped(first) : `${escaped(first)}-${escaped(last)}`));
  const isLone = ranges.length === 1 && ranges[0]![0] === ranges[0]![1] && ranges[0]![0] > 0x7f;
  return `[${parts.join('')}${isLone ? escaped(0xff) : ''}]`;
}

export function choiceOf(options: readonly string[]): string {
  return options.length === 1 ? options[0]! : `(${options.join(' | ')})`;
}

/** The ways in which a character of a text is written: as it is, or inside a JSON string. */
export type WriteChars = (set: CharSet) => string[];

export const plainChars: WriteChars = spellings;

/** Characters that a JSON string must escape. */
const special = charSet([
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
]); // prettier-ignore
const shortEscapes: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '\b': 'b',
  '\f': 'f',
  '\n': 'n',
  '\r': 'r',
  '\t': 't',
};
const longEscaped = subtract(special, charsOf(Object.keys(shortEscapes).join('')));

/** Each character has one spelling: itself where JSON allows it, else the short escape, else \u00XX. */
export const jsonChars: WriteChars = set => {
  const options: string[] = [];
  const raw = subtract(set, special);
  if (raw.length > 0) options.push(...spellings(raw));
  const short = Object.entries(shortEscapes).filter(([char]) => intersect(set, charsOf(char)).length > 0);
  if (short.length > 0)
    options.push(`${literal('\\')} ${charClass(charsOf(short.map(([, letter]) => letter).join('')))}`);
  for (const [first, last] of intersect(set, longEscaped)) {
    for (let code = first; code <= last; code++) options.push(literal(`\\u${code.toString(16).padStart(4, '0')}`));
  }
  return options;
};

/** Where rules go that a text refers to. */
export interface RuleMaker {
  /** Parts that a count may be written out to. */
  readonly chainLimit: number;
  /** Takes the name of a rule whose text is `set` later. */
  reserve(): string;
  set(name: string, text: string): string;
  add(text: string): string;
}

/** Writes a pattern. Throws InvalidRequestError about `field` when it is too large, or matches nothing. */
export function writeRegex(node: RegexNode, write: WriteChars, field: string, rules: RuleMaker): string {
  if (countParts(node) > MAX_PARTS) fail(field, 'has a pattern that is too large once its repetitions are written out');
  const text = (part: RegexNode): string => {
    switch (part.kind) {
      case 'chars':
        return oneOf(spell(part.set));
      case 'sequence':
        return part.parts.length === 0 ? '""' : `(${part.parts.map(text).join(' ')})`;
      case 'choice':
        return choiceOf(part.options.map(text));
      case 'repeat':
        if (part.node.kind === 'chars') return repeatChars(spell(part.node.set), part.min, part.max, rules);
        return `(${text(part.node)})${repetition(part.min, part.max)}`;
    }
  };
  const spell = (set: CharSet) =>
    set.length > 0 ? write(set) : fail(field, 'has a pattern with a class of characters that is empty');
  return text(node);
}

/**
 * Repeated characters. Those of several spellings are a rule that refers to itself at its end: the library knows beforehand which
 * tokens stay within one rule, and looks at all others again for every mask, which takes a thousand times as long.
 */
function repeatChars(options: readonly string[], min: number, max: number | null, rules: RuleMaker): string {
  if (options.length === 1) return `(${options[0]})${repetition(min, max)}`;
  const first = min === 0 ? '' : `(${oneOf(options)})${repetition(min, min)} `;
  if (max !== null) {
    const isLong = max - min > rules.chainLimit;
    return first + chain(isLong ? [charRule(options, rules)] : options, '""', max - min, rules);
  }
  const rest = rules.reserve();
  return first + rules.set(rest, ['""', ...options.map(option => `${option} ${rest}`)].join(' | '));
}

/**
 * A rule of one character that stays one: the library puts rules that refer to no other into the place where they stand, and
 * compiles them there again. With this, long counts compile at once; their masks are slow.
 */
export function charRule(options: readonly string[], rules: RuleMaker): string {
  const elements = options.at(-1)!.split(' ');
  const last = [...elements.slice(0, -1), rules.add(elements.at(-1)!)].join(' ');
  return rules.add([...options.slice(0, -1), last].join(' | '));
}

/** At most `most` characters, then `end`: one rule for each. */
export function chain(options: readonly string[], end: string, most: number, rules: RuleMaker): string {
  let rest = rules.add(end);
  for (let i = 0; i < most; i++) rest = rules.add([end, ...options.map(option => `${option} ${rest}`)].join(' | '));
  return rest;
}

export function repetition(min: number, max: number | null): string {
  if (max === null) return min === 0 ? '*' : min === 1 ? '+' : `{${min},}`;
  return min === 0 && max === 1 ? '?' : `{${min},${max}}`;
}

/** A class of characters that is repeated counts little: the library keeps it as one part with a counter. */
function countParts(node: RegexNode): number {
  switch (node.kind) {
    case 'chars':
      return 1;
    case 'sequence':
      return node.parts.reduce((sum, part) => sum + countParts(part), 1);
    case 'choice':
      return node.options.reduce((sum, option) => sum + countParts(option), 1);
    case 'repeat': {
      const times = Math.max(1, node.min, node.max ?? 0);
      return node.node.kind === 'chars' ? Math.min(times, 256) : times * countParts(node.node);
    }
  }
}
