import type { ResolvedSamplingParams } from '../sampling/sampling-params.ts';
import type { Detokenizer, Tokenizer } from '../tokenizer/types.ts';

export class TextStream {
  readonly #detokenizer: Detokenizer;
  #text = '';

  constructor(tokenizer: Tokenizer, promptTokenIds: ArrayLike<number>, params: ResolvedSamplingParams) {
    this.#detokenizer = tokenizer.createDetokenizer({
      skipSpecialTokens: params.skipSpecialTokens,
      promptTokenIds: Array.from(promptTokenIds),
    });
  }

  get text(): string {
    return this.#text;
  }

  push(token: number, _numOutputTokens: number): string | null {
    this.#text += this.#detokenizer.push(token);
    return null;
  }

  finish(): void {
    this.#text += this.#detokenizer.flush();
  }
}
