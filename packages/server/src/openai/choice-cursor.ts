import type { CompletionOutput, FinishReason, PositionLogprobs } from '@quire/core';

/** What one choice gained since the last chunk. */
export interface ChoiceDelta {
  text: string;
  tokenIds: readonly number[];
  logprobs: readonly PositionLogprobs[] | null;
  finishReason: FinishReason | null;
  stopReason: string | number | null;
}

/** How much of a choice's cumulative output was sent. Outputs that were merged upstream simply make a longer delta. */
export class ChoiceCursor {
  #text = 0;
  #tokens = 0;
  #finished = false;

  /** null while there is nothing to send: tokens whose text is held back wait for it. */
  advance(output: CompletionOutput): ChoiceDelta | null {
    const { text, tokenIds, logprobs, finishReason, stopReason } = output;
    if (this.#finished || (text.length <= this.#text && finishReason === null)) return null;
    const delta = {
      text: text.slice(this.#text),
      tokenIds: tokenIds.slice(this.#tokens),
      logprobs: logprobs?.slice(this.#tokens) ?? null,
      finishReason,
      stopReason,
    };
    this.#text = text.length;
    this.#tokens = tokenIds.length;
    this.#finished = finishReason !== null;
    return delta;
  }
}
