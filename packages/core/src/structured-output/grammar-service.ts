import { EngineError, InvalidRequestError } from '../errors.ts';
import { toSnakeCase } from '../names.ts';
import { byteToChar } from '../tokenizer/byte-alphabet.ts';
import type { Tokenizer } from '../tokenizer/types.ts';
import type { GrammarPort, GrammarVocabulary } from './grammar-messages.ts';
import { GrammarSession } from './grammar-session.ts';
import { GrammarThread, GrammarThreadError, GrammarUnavailableError } from './grammar-thread.ts';
import type { GrammarSpec } from './structured-outputs.ts';
import { toGrammar } from './to-grammar.ts';

export interface GrammarServiceOptions {
  /** Opens a thread that runs a GrammarServer. */
  readonly open: () => GrammarPort;
  readonly tokenizer: Pick<Tokenizer, 'vocabSize' | 'specialTokenIds' | 'tokenBytes'>;
  /** Width of the logits. */
  readonly vocabSize: number;
  readonly eosTokenIds: readonly number[];
  /** Longest time that one grammar may take to compile, or one token to match. Default 5 s. */
  readonly budgetMs?: number;
}

const DEFAULT_BUDGET_MS = 5000;
/** Parts of a count times tokens of the vocabulary that compile in about a second, and most parts. */
const CHAIN_TOKENS = 1_500_000;
const MAX_CHAIN = 256;
/** Constraints whose compilation is remembered, refused ones included. */
const MAX_REMEMBERED = 256;

/**
 * Compiles and matches grammars off the engine's thread. A new one is tried out on a thread of its own, which it may break or
 * stall within the budget; only those that stood the test reach the thread where all requests are matched.
 */
export class GrammarService {
  readonly #trial: GrammarThread;
  readonly #matching: GrammarThread;
  /** EBNF by key, once tried out. */
  readonly #prepared = new Map<string, Promise<string>>();
  readonly #chainLimit: number;
  #numSessions = 0;

  constructor(options: GrammarServiceOptions) {
    let vocabulary: GrammarVocabulary | null = null;
    const getVocabulary = () => {
      vocabulary ??= grammarVocabulary(options);
      return vocabulary;
    };
    this.#chainLimit = Math.min(MAX_CHAIN, Math.floor(CHAIN_TOKENS / options.vocabSize));
    const budgetMs = options.budgetMs ?? DEFAULT_BUDGET_MS;
    this.#trial = new GrammarThread(options.open, getVocabulary, budgetMs);
    // What compiled in time once does so again, but perhaps behind others that begin.
    this.#matching = new GrammarThread(options.open, getVocabulary, 2 * budgetMs);
  }

  /**
   * Compiles a constraint, once. Rejects with InvalidRequestError when it is wrong, matches nothing, or takes too long, and with
   * EngineError when there is no thread to do it.
   */
  prepare(spec: GrammarSpec): Promise<string> {
    const known = this.#prepared.get(spec.key);
    this.#prepared.delete(spec.key);
    const prepared = known ?? this.#tryOut(spec);
    this.#prepared.set(spec.key, prepared);
    prepared.catch(error => {
      // Only what is wrong with the constraint itself stays wrong.
      if (!(error instanceof InvalidRequestError)) this.#prepared.delete(spec.key);
    });
    if (this.#prepared.size > MAX_REMEMBERED) this.#prepared.delete(this.#prepared.keys().next().value!);
    return prepared;
  }

  /** A session behind the tokens that its text has already, with the mask of the next. Rejects as `prepare` does. */
  async start(spec: GrammarSpec, tokens: readonly number[] = []): Promise<GrammarSession> {
    const grammar = await this.prepare(spec);
    const session = new GrammarSession(this.#matching, this.#numSessions++, grammar);
    try {
      await session.begin(tokens);
    } catch (cause) {
      if (cause instanceof GrammarUnavailableError) throw cause;
      throw new EngineError(`The grammar of the request failed: ${(cause as Error).message}`, { cause });
    }
    return session;
  }

  async dispose(): Promise<void> {
    await Promise.all([this.#trial.dispose(), this.#matching.dispose()]);
  }

  async #tryOut(spec: GrammarSpec): Promise<string> {
    const grammar = toGrammar(spec, this.#chainLimit);
    const session = new GrammarSession(this.#trial, this.#numSessions++, grammar);
    try {
      await session.begin();
    } catch (cause) {
      const isItsOwn = cause instanceof GrammarThreadError || cause instanceof EngineError;
      if (!isItsOwn || cause instanceof GrammarUnavailableError) throw cause;
      const field = `structured_outputs.${toSnakeCase(spec.kind)}`;
      throw new InvalidRequestError(`${field} cannot be used: ${cause.message}.`, 'structured_outputs');
    }
    session.close();
    return grammar;
  }
}

/** Special tokens and ids without a token are no text, nor are bytes that UTF-8 does not have, so no grammar may choose them. */
function grammarVocabulary({ tokenizer, vocabSize, eosTokenIds }: GrammarServiceOptions): GrammarVocabulary {
  const isText = (id: number) =>
    id < tokenizer.vocabSize &&
    !tokenizer.specialTokenIds.has(id) &&
    !eosTokenIds.includes(id) &&
    tokenizer.tokenBytes(id).every(byte => byte < 0xf5 && byte !== 0xc0 && byte !== 0xc1);
  const tokens = Array.from({ length: vocabSize }, (_, id) =>
    isText(id) ? Array.from(tokenizer.tokenBytes(id), byte => byteToChar[byte]!).join('') : '',
  );
  return { tokens, stopTokenIds: eosTokenIds };
}
