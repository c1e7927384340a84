import type { Detokenizer } from './types.ts';

/** Tokens of context that a new token is decoded with. */
const CONTEXT = 5;
const REPLACEMENT = '\ufffd';

/**
 * Streams text from a decoder that needs the neighbours of a token, by the method of vLLM and text-generation-inference: the last
 * few tokens are decoded with and without the new ones, and the difference is new text unless it ends in an incomplete character.
 * Work per token is bounded by the context.
 */
export class SequenceDetokenizer implements Detokenizer {
  readonly #decode: (ids: readonly number[]) => string;
  /** From the context's first token on. */
  #ids: number[];
  /** Tokens at the front whose text was handed out. */
  #read: number;

  constructor(decode: (ids: readonly number[]) => string, promptTokenIds: readonly number[]) {
    this.#decode = decode;
    this.#ids = promptTokenIds.slice(-CONTEXT);
    this.#read = this.#ids.length;
  }

  push(id: number): string {
    this.#ids.push(id);
    const text = this.#newText();
    if (text === '' || text.endsWith(REPLACEMENT)) return '';
    this.#advance();
    return text;
  }

  flush(): string {
    const text = this.#newText();
    this.#advance();
    return text;
  }

  #newText(): string {
    const before = this.#decode(this.#ids.slice(0, this.#read));
    return this.#decode(this.#ids).slice(before.length);
  }

  #advance(): void {
    this.#ids = this.#ids.slice(Math.max(0, this.#read - CONTEXT));
    this.#read = this.#ids.length;
  }
}
