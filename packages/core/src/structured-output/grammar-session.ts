import { EngineError } from '../errors.ts';
import { type GrammarThread, GrammarThreadLost } from './grammar-thread.ts';

/** Times that a question is asked again when the thread was lost to others. */
const MAX_RETRIES = 8;

/** The grammar of one completion, at the tokens that it has so far. */
export class GrammarSession {
  readonly #thread: GrammarThread;
  readonly #session: number;
  readonly #grammar: string;
  readonly #tokens: number[] = [];
  /** The thread, counted, that knows the first `#have` tokens. */
  #generation = 0;
  #have = 0;
  #mask: Uint32Array | null = null;
  #isOver = false;

  constructor(thread: GrammarThread, session: number, grammar: string) {
    this.#thread = thread;
    this.#session = session;
    this.#grammar = grammar;
  }

  /** Ids that may come next: bit id % 32 of word id / 32. null while that is being worked out. */
  get mask(): Uint32Array | null {
    return this.#mask;
  }

  /** The grammar is fulfilled, and its text has ended. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Works out what may come first, or next to some tokens. Rejects with GrammarThreadError when the grammar breaks the thread. */
  begin(tokens: readonly number[] = []): Promise<void> {
    for (const token of tokens) this.#tokens.push(token);
    return this.#advance();
  }

  /** Takes the next token. Resolves when `mask` is that of the token after it; rejects with EngineError when that fails. */
  async accept(token: number): Promise<void> {
    this.#tokens.push(token);
    this.#mask = null;
    try {
      await this.#advance();
    } catch (cause) {
      throw new EngineError(`The grammar of the request failed: ${(cause as Error).message}`, { cause });
    }
  }

  close(): void {
    this.#thread.closeSession(this.#session);
  }

  async #advance(): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#ask();
      } catch (error) {
        if (!(error instanceof GrammarThreadLost) || attempt === MAX_RETRIES) throw error;
      }
    }
  }

  /** A thread that does not know the session is told all of its tokens. */
  async #ask(): Promise<void> {
    this.#thread.start();
    const { generation } = this.#thread;
    const have = generation === this.#generation ? this.#have : 0;
    const tokens = this.#tokens.slice(have);
    this.#generation = generation;
    this.#have = this.#tokens.length;
    const question = { session: this.#session, grammar: have === 0 ? this.#grammar : '', have, tokens };
    const { mask, isOver } = await this.#thread.advance(question);
    if (!isOver && mask.every(word => word === 0)) throw new EngineError('no token of this model can follow here');
    this.#mask = mask;
    this.#isOver = isOver;
  }
}
