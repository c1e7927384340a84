import type { ThinkingBudget } from '../sampling/sampling-params.ts';
import type { GrammarSession } from '../structured-output/grammar-session.ts';
import { ThinkingLimit, type TokenSequence } from './thinking-limit.ts';

export interface TokenConstraintInit {
  vocabSize: number;
  /** null: all. */
  allowedTokenIds: readonly number[] | null;
  /** Token sequences whose last token is banned after the others. */
  badWords: readonly (readonly number[])[];
  /** null: the model may reason for as long as it likes. */
  thinkingTokenBudget?: ThinkingBudget | null;
  /** Begins the grammar of the output; null: there is none. */
  openGrammar: (() => Promise<GrammarSession>) | null;
}

/** What a constraint must know of its request. */
export interface TokenHistory extends TokenSequence {
  /** Changes when the request loses its row, and the row its mask. */
  readonly generation: number;
}

/** Which ids a request may sample next, as a bit mask: allowed ids, less bad words, within its grammar and its budget of reasoning. */
export class TokenConstraint {
  /** Settles when the mask of the next token is known; null where it always is. */
  pending: Promise<void> | null;
  readonly hasGrammar: boolean;
  #grammar: GrammarSession | null = null;
  #isClosed = false;
  /** What does not depend on the output. */
  readonly #fixed: Uint32Array;
  /** Bad words of more than one token. */
  readonly #phrases: readonly (readonly number[])[];
  readonly #thinking: ThinkingLimit | null;
  #mask: Uint32Array;
  #sentMask: Uint32Array | null = null;
  #sentGeneration = -1;

  constructor(init: TokenConstraintInit) {
    const { vocabSize, allowedTokenIds, badWords, thinkingTokenBudget = null, openGrammar } = init;
    this.hasGrammar = openGrammar !== null;
    this.pending = openGrammar === null ? null : this.#open(openGrammar);
    this.#fixed = new Uint32Array(Math.ceil(vocabSize / 32)).fill(allowedTokenIds === null ? 0xffffffff : 0);
    for (const id of allowedTokenIds ?? []) this.#fixed[id >>> 5]! |= 1 << (id & 31);
    for (const word of badWords) if (word.length === 1) clear(this.#fixed, word[0]!);
    this.#phrases = badWords.filter(word => word.length > 1);
    this.#thinking = thinkingTokenBudget === null ? null : new ThinkingLimit(thinkingTokenBudget);
    this.#mask = this.#fixed;
  }

  /** The mask of a token depends on the tokens before it. */
  get waitsForTokens(): boolean {
    return this.hasGrammar || this.#phrases.length > 0 || this.#thinking !== null;
  }

  /** The mask after the tokens accepted so far can be known now. */
  get isReady(): boolean {
    return !this.hasGrammar || (this.#grammar !== null && this.#grammar.mask !== null);
  }

  /** The grammar is fulfilled and nothing may follow. */
  get isOver(): boolean {
    return this.#grammar?.isOver ?? false;
  }

  /** The mask of the request's next token, or null when its row has it already. The words are not changed afterwards. */
  take(request: TokenHistory): Uint32Array | null {
    if (this.waitsForTokens) this.#mask = this.#nextMask(request);
    const isSent = this.#sentGeneration === request.generation && sameWords(this.#sentMask, this.#mask);
    if (isSent) return null;
    this.#sentGeneration = request.generation;
    this.#sentMask = this.#mask;
    return this.#mask;
  }

  /** Whether the mask that was last taken has the token. */
  allows(token: number): boolean {
    return ((this.#mask[token >>> 5]! >>> (token & 31)) & 1) === 1;
  }

  /** Whether the mask that was last taken has no id but some of these. */
  allowsOnly(ids: Iterable<number>): boolean {
    const rest = this.#mask.slice();
    for (const id of ids) clear(rest, id);
    return rest.every(word => word === 0);
  }

  /** Goes on to the next token. */
  accept(token: number): void {
    if (this.#grammar !== null) this.pending = this.#grammar.accept(token);
  }

  close(): void {
    this.#isClosed = true;
    this.#grammar?.close();
  }

  async #open(openGrammar: () => Promise<GrammarSession>): Promise<void> {
    this.#grammar = await openGrammar();
    if (this.#isClosed) this.#grammar.close();
  }

  #nextMask(request: TokenHistory): Uint32Array {
    const mask = this.#fixed.slice();
    const allowed = this.#grammar?.mask ?? null;
    if (allowed !== null) for (let i = 0; i < mask.length; i++) mask[i]! &= allowed[i]!;
    for (const phrase of this.#phrases) if (endsBefore(request, phrase)) clear(mask, phrase.at(-1)!);
    if (this.#thinking?.isSpent(request)) keepOnly(mask, this.#thinking.endTokenId);
    return mask;
  }
}

/** Whether the output ends with all but the last token of the phrase. */
function endsBefore({ tokens, numTokens, numPromptTokens }: TokenHistory, phrase: readonly number[]): boolean {
  const start = numTokens - (phrase.length - 1);
  if (start < numPromptTokens) return false;
  for (let i = 0; i < phrase.length - 1; i++) if (tokens[start + i] !== phrase[i]) return false;
  return true;
}

function clear(words: Uint32Array, id: number): void {
  words[id >>> 5]! &= ~(1 << (id & 31));
}

function keepOnly(words: Uint32Array, id: number): void {
  const word = words[id >>> 5]! & (1 << (id & 31));
  words.fill(0);
  words[id >>> 5] = word;
}

function sameWords(a: Uint32Array | null, b: Uint32Array): boolean {
  return a === b || a?.every((word, i) => word === b[i]) === true;
}
