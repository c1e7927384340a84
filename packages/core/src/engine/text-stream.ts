import type { ResolvedSamplingParams } from '../sampling/sampling-params.ts';
import { StopStringMatcher } from '../tokenizer/stop-strings.ts';
import type { Detokenizer, Tokenizer } from '../tokenizer/types.ts';

/**
 * The text of one completion as its tokens come: detokenised, and searched for stop strings. `text` never shrinks or changes,
 * so what may yet turn out to be a stop string is not in it before `finish`.
 */
export class TextStream {
  readonly #detokenizer: Detokenizer;
  readonly #matcher: StopStringMatcher | null;
  readonly #minTokens: number;
  #text = '';
  #isStopped = false;

  constructor(tokenizer: Tokenizer, promptTokenIds: readonly number[], params: ResolvedSamplingParams) {
    this.#detokenizer = tokenizer.createDetokenizer({
      skipSpecialTokens: params.skipSpecialTokens,
      spacesBetweenSpecialTokens: params.spacesBetweenSpecialTokens,
      promptTokenIds,
    });
    this.#minTokens = params.minTokens;
    this.#matcher =
      params.stop.length === 0
        ? null
        : new StopStringMatcher(params.stop, { includeStop: params.includeStopStrInOutput });
  }

  get text(): string {
    return this.#text;
  }

  /** Adds the numOutputTokens-th token. Returns the stop string that it completed, or null. The first minTokens are not searched. */
  push(token: number, numOutputTokens: number): string | null {
    const piece = this.#detokenizer.push(token);
    if (this.#matcher === null || numOutputTokens <= this.#minTokens) {
      this.#text += piece;
      return null;
    }
    const { emit, stopped } = this.#matcher.push(piece);
    this.#text += emit;
    this.#isStopped = stopped !== null;
    return stopped?.stop ?? null;
  }

  /** Releases what was held back, unless a stop string ended the text. */
  finish(): void {
    if (this.#isStopped) return;
    this.#text += (this.#matcher?.flush() ?? '') + this.#detokenizer.flush();
  }
}
