import type { Detokenizer } from './types.ts';
import type { Vocabulary } from './vocabulary.ts';

/**
 * A detokenizer in which a special token after another one is its bare text, as vLLM's with spaces_between_special_tokens false.
 * It differs from the one within only where the decoder sets tokens apart.
 */
export class JoinedSpecialTokens implements Detokenizer {
  readonly #within: Detokenizer;
  readonly #vocabulary: Pick<Vocabulary, 'specialIds' | 'token'>;
  #lastIsSpecial = false;

  constructor(within: Detokenizer, vocabulary: Pick<Vocabulary, 'specialIds' | 'token'>) {
    this.#within = within;
    this.#vocabulary = vocabulary;
  }

  push(id: number): string {
    const text = this.#within.push(id);
    const isSpecial = this.#vocabulary.specialIds.has(id);
    const isJoined = isSpecial && this.#lastIsSpecial;
    this.#lastIsSpecial = isSpecial;
    return isJoined ? (this.#vocabulary.token(id) ?? '') : text;
  }

  flush(): string {
    return this.#within.flush();
  }
}
