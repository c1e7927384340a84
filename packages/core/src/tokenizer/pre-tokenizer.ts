import { toByteAlphabet } from './byte-alphabet.ts';
import { type SplitBehavior, splitText } from './split.ts';
import { SplitPreTokenizer } from './tokenizers-library.ts';

/** One pre-tokeniser of tokenizer.json, checked and with its defaults filled in. */
export type PreTokenizerConfig =
  | { readonly type: 'ByteLevel'; readonly addPrefixSpace: boolean; readonly useRegex: boolean }
  | { readonly type: 'Split'; readonly pattern: RegExp; readonly behavior: SplitBehavior; readonly invert: boolean }
  | {
      readonly type: 'Metaspace';
      readonly replacement: string;
      readonly prependScheme: 'always' | 'first' | 'never';
      readonly split: boolean;
    }
  | { readonly type: 'FixedLength'; readonly length: number };

/** How text is cut into the words that the BPE sees. */
export interface PreTokenizer {
  /** Words hold plain text that the BPE has to spell in bytes. Else they are spelled as the vocabulary spells them. */
  readonly byteLevel: boolean;
  /** `isFirst`: the text is the beginning of the input. */
  split(text: string, isFirst: boolean): string[];
}

// Categories and white space as in the Rust library: JavaScript's \s differs from Unicode's White_Space at U+0085 and U+FEFF.
const space = '\\p{White_Space}';
const punctuation = '[\\p{P}\\x21-\\x2f\\x3a-\\x40\\x5b-\\x60\\x7b-\\x7e]';
const wordCharacter = '[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u200c\\u200d]';

/** The patterns of the pre-tokenisers that are a fixed Split. */
export const fixedPatterns = {
  /** GPT-2's words. */
  gpt2: new RegExp(
    `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^${space}\\p{L}\\p{N}]+|${space}+(?!\\P{White_Space})|${space}+`,
    'gu',
  ),
  numeric: /\p{N}/gu,
  punctuation: new RegExp(punctuation, 'gu'),
  whitespace: new RegExp(`${space}+`, 'gu'),
  words: new RegExp(`${wordCharacter}+|(?:(?!${wordCharacter})\\P{White_Space})+`, 'gu'),
} as const;

/**
 * Compiles a pattern of tokenizer.json. Regular expressions are in Oniguruma's syntax; the tokenizers library translates them.
 * Throws SyntaxError for what it cannot translate.
 */
export function compilePattern(pattern: { String: string } | { Regex: string }): RegExp {
  const compiled = new SplitPreTokenizer({ type: 'Split', pattern, behavior: 'Isolated', invert: false }).pattern;
  if (compiled === null) throw new SyntaxError('the pattern is neither a string nor a regular expression');
  return new RegExp(compiled.source, 'gu');
}

type Step = (piece: string, isFirst: boolean) => string[];

/**
 * The pre-tokenisers of a file in order. Splitting follows the Rust library in the cases where the JavaScript one simplifies
 * (behaviours of Split and Punctuation, digits beyond ASCII, Metaspace's own split). A ByteLevel at the end is left to the BPE,
 * which then needs no spelling of every word in the byte alphabet.
 */
export function createPreTokenizer(configs: readonly PreTokenizerConfig[]): PreTokenizer {
  const byteLevel = configs.at(-1)?.type === 'ByteLevel';
  const steps = configs.map((config, i) => createStep(config, byteLevel && i === configs.length - 1));
  return {
    byteLevel,
    split(text, isFirst) {
      let pieces = [text];
      for (const step of steps) pieces = applyStep(step, pieces, isFirst);
      return pieces;
    },
  };
}

function applyStep(step: Step, pieces: readonly string[], isFirst: boolean): string[] {
  if (pieces.length === 1) return step(pieces[0]!, isFirst);
  const result: string[] = [];
  for (let i = 0; i < pieces.length; i++) {
    for (const piece of step(pieces[i]!, isFirst && i === 0)) result.push(piece);
  }
  return result;
}

function createStep(config: PreTokenizerConfig, leaveBytes: boolean): Step {
  switch (config.type) {
    case 'Split':
      return piece => splitText(piece, config.pattern, config.behavior, config.invert);
    case 'FixedLength':
      return piece => fixedLength(piece, config.length);
    case 'Metaspace':
      return metaspaceStep(config);
    case 'ByteLevel':
      return byteLevelStep(config, leaveBytes);
  }
}

function fixedLength(piece: string, length: number): string[] {
  const characters = Array.from(piece);
  const pieces: string[] = [];
  for (let i = 0; i < characters.length; i += length) pieces.push(characters.slice(i, i + length).join(''));
  return pieces;
}

function metaspaceStep(config: PreTokenizerConfig & { type: 'Metaspace' }): Step {
  const { replacement, prependScheme, split } = config;
  return (piece, isFirst) => {
    const spaced = piece.replaceAll(' ', replacement);
    const prepends = prependScheme === 'always' || (prependScheme === 'first' && isFirst);
    const text = prepends && !spaced.startsWith(replacement) ? replacement + spaced : spaced;
    return split ? splitBefore(text, replacement) : [text];
  };
}

/** Words that begin at each mark: splitText with MergedWithNext, for a mark that is plain text. */
function splitBefore(text: string, mark: string): string[] {
  const words: string[] = [];
  let start = 0;
  for (let at = text.indexOf(mark, 1); at >= 0; at = text.indexOf(mark, at + 1)) {
    words.push(text.slice(start, at));
    start = at;
  }
  if (start < text.length) words.push(text.slice(start));
  return words;
}

function byteLevelStep(config: PreTokenizerConfig & { type: 'ByteLevel' }, leaveBytes: boolean): Step {
  return piece => {
    const text = config.addPrefixSpace && !piece.startsWith(' ') ? ` ${piece}` : piece;
    const words = config.useRegex ? (text.match(fixedPatterns.gpt2) ?? []) : [text];
    return leaveBytes ? words : words.map(toByteAlphabet);
  };
}
