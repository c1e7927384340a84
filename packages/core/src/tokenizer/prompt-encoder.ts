import { InvalidRequestError } from '../errors.ts';
import type { TextRanges } from './added-tokens.ts';
import { BpeEncoder } from './bpe.ts';
import { createPreTokenizer, type PreTokenizer } from './pre-tokenizer.ts';
import type { TokenizerSpec } from './tokenizer-spec.ts';
import { UnigramEncoder } from './unigram.ts';
import { type AddedTokenMatchers, createMatchers, type Vocabulary } from './vocabulary.ts';

/** Text to ids: added tokens, normaliser, words, then the model's ids of each word. */
export class PromptEncoder {
  readonly #spec: TokenizerSpec;
  readonly #matchers: AddedTokenMatchers;
  readonly #preTokenizer: PreTokenizer;
  readonly #words: { encode(word: string): readonly number[] };
  /** Bytes that one token can stand for, or Infinity where the normaliser or an added token may swallow text. */
  readonly #maxTokenBytes: number;

  constructor(spec: TokenizerSpec, vocabulary: Vocabulary) {
    this.#spec = spec;
    this.#matchers = createMatchers(spec);
    this.#preTokenizer = createPreTokenizer(spec.preTokenizers);
    const { model } = spec;
    this.#words =
      model.type === 'Unigram'
        ? new UnigramEncoder(model, vocabulary.specialIds)
        : new BpeEncoder(model, this.#preTokenizer.byteLevel, vocabulary.specialIds);
    this.#maxTokenBytes = mayDropText(spec) ? Number.POSITIVE_INFINITY : vocabulary.maxTokenBytes;
  }

  /**
   * Ids of text. Special tokens are found outside the `untrusted` ranges only; inside, their spelling is plain text, and the
   * other tokens are chosen as if no border were there. Throws InvalidRequestError beyond `maxTokens`.
   */
  encode(
    text: string,
    untrusted: TextRanges,
    addSpecialTokens: boolean,
    maxTokens = Number.POSITIVE_INFINITY,
  ): number[] {
    const { prefix, suffix } = addSpecialTokens ? this.#spec.affixes : { prefix: [], suffix: [] };
    const budget = maxTokens - suffix.length;
    // UTF-8 has at least one byte per UTF-16 code unit.
    if (text.length > (budget - prefix.length) * this.#maxTokenBytes) throw tooLong(maxTokens, text.length);
    const ids = [...prefix];
    if (ids.length > budget) throw tooLong(maxTokens, text.length);
    for (const section of this.#matchers.raw.split(wellFormed(text), untrusted)) {
      if ('id' in section) ids.push(section.id);
      else this.#encodeSection(section.text, section.start === 0, ids, budget);
      if (ids.length > budget) throw tooLong(maxTokens, text.length);
    }
    for (const id of suffix) ids.push(id);
    return ids;
  }

  #encodeSection(text: string, isFirst: boolean, ids: number[], budget: number): void {
    const normalized = this.#spec.normalizer === null ? text : this.#spec.normalizer(text);
    for (const section of this.#matchers.normalized.split(normalized)) {
      if ('id' in section) ids.push(section.id);
      else this.#encodeWords(section.text, isFirst && section.start === 0, ids, budget);
    }
  }

  /** Stops early beyond the budget; the caller throws. */
  #encodeWords(text: string, isFirst: boolean, ids: number[], budget: number): void {
    let [previous, found]: [string, readonly number[]] = ['', []];
    for (const word of this.#wordsOf(text, isFirst)) {
      if (word !== previous) found = this.#words.encode(word);
      previous = word;
      for (const id of found) ids.push(id);
      if (ids.length > budget) return;
    }
  }

  /** Regular expressions of the engine run out of stack on words of some million characters. */
  #wordsOf(text: string, isFirst: boolean): string[] {
    try {
      return this.#preTokenizer.split(text, isFirst);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new InvalidRequestError(
        `The prompt (${text.length} characters) is too long to be split into words.`,
        'prompt',
        'prompt_too_long',
      );
    }
  }
}

/** Whether some text may leave no token behind, so that a long text can have few tokens. */
function mayDropText(spec: TokenizerSpec): boolean {
  const { model } = spec;
  const fusesUnknown = model.type === 'Unigram' ? !model.byteFallback : model.unkToken === null || model.fuseUnk;
  const spellsAll = model.type === 'BPE' && model.unkToken === null && spec.preTokenizers.at(-1)?.type === 'ByteLevel';
  const dropsUnknown = fusesUnknown && !spellsAll;
  const removes = spec.preTokenizers.some(config => config.type === 'Split' && config.behavior === 'Removed');
  return (
    spec.normalizer !== null || dropsUnknown || removes || spec.addedTokens.some(token => token.lstrip || token.rstrip)
  );
}

/** Half a surrogate pair has no UTF-8 form; it becomes U+FFFD, as TextEncoder would have it. */
function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, '\ufffd');
}

function tooLong(maxTokens: number, length: number): InvalidRequestError {
  return new InvalidRequestError(
    `The prompt (${length} characters) has more than ${maxTokens} tokens, the most that fit. Shorten it.`,
    'prompt',
    'prompt_too_long',
  );
}
