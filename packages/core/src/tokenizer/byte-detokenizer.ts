import type { Detokenizer } from './types.ts';
import { Utf8Stream } from './utf8-stream.ts';

/** Tokens of the prompt that are looked at: an incomplete character has at most three bytes. */
const PROMPT_TAIL = 3;
const SPACE = 0x20;

/** What tokens stand for. */
export interface TokenTexts {
  tokenBytes(id: number): Uint8Array;
  /** Text of a token that begins between two characters; null where its bytes end within one. */
  wholeText(id: number): string | null;
}

/** Streams text where each token has bytes of its own. Constant work per token; nothing is decoded twice. */
export class ByteDetokenizer implements Detokenizer {
  readonly #texts: TokenTexts;
  readonly #isSkipped: (id: number) => boolean;
  readonly #utf8 = new Utf8Stream();
  /** Spaces at the very beginning that are still to be dropped. */
  #leadingSpaces: number;

  /** After a prompt the text goes on: a character that the prompt began is completed, and no leading space is dropped. */
  constructor(
    texts: TokenTexts,
    isSkipped: (id: number) => boolean,
    leadingSpaces: number,
    promptTokenIds: readonly number[],
  ) {
    this.#texts = texts;
    this.#isSkipped = isSkipped;
    this.#leadingSpaces = promptTokenIds.length > 0 ? 0 : leadingSpaces;
    for (const id of promptTokenIds.slice(-PROMPT_TAIL)) if (!isSkipped(id)) this.#utf8.push(texts.tokenBytes(id));
  }

  push(id: number): string {
    if (this.#isSkipped(id)) return '';
    if (this.#leadingSpaces === 0 && this.#utf8.isBetweenCharacters) {
      const text = this.#texts.wholeText(id);
      if (text !== null) return text;
    }
    const bytes = this.#texts.tokenBytes(id);
    return this.#utf8.push(this.#leadingSpaces > 0 ? this.#withoutLeadingSpaces(bytes) : bytes);
  }

  flush(): string {
    return this.#utf8.flush();
  }

  #withoutLeadingSpaces(bytes: Uint8Array): Uint8Array {
    let start = 0;
    while (start < bytes.length && this.#leadingSpaces > 0 && bytes[start] === SPACE) {
      start++;
      this.#leadingSpaces--;
    }
    if (start < bytes.length) this.#leadingSpaces = 0;
    return bytes.subarray(start);
  }
}
