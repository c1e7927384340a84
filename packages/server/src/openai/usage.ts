import type { RequestOutput } from '@quire/core';

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  prompt_tokens_details: { cached_tokens: number };
  completion_tokens_details?: { reasoning_tokens: number };
}

/** Counts the tokens of all prompts of a request, from whole outputs or from deltas. */
export class UsageCounter {
  readonly #prompts: { tokens: number; cached: number }[] = [];
  #completionTokens = 0;

  /** `output` is what prompt `index` gained: a delta, or all of it at once. */
  add(index: number, output: RequestOutput): void {
    this.#prompts[index] = { tokens: output.promptTokenIds.length, cached: output.numCachedTokens };
    for (const choice of output.outputs) this.#completionTokens += choice.tokenIds.length;
  }

  get usage(): Usage {
    const promptTokens = this.#prompts.reduce((sum, { tokens }) => sum + tokens, 0);
    const cached = this.#prompts.reduce((sum, prompt) => sum + prompt.cached, 0);
    return {
      prompt_tokens: promptTokens,
      completion_tokens: this.#completionTokens,
      total_tokens: promptTokens + this.#completionTokens,
      prompt_tokens_details: { cached_tokens: cached },
    };
  }
}
