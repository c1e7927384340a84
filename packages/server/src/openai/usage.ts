import type { RequestOutput } from '@quire/core';

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  prompt_tokens_details: { cached_tokens: number };
}

/** Tokens of all prompts of a request; completions are those sent to the client so far. */
export function usageOf(outputs: readonly (RequestOutput | undefined)[]): Usage {
  let prompt = 0;
  let completion = 0;
  let cached = 0;
  for (const output of outputs) {
    if (output === undefined) continue;
    prompt += output.promptTokenIds.length;
    cached += output.numCachedTokens;
    for (const choice of output.outputs) completion += choice.tokenIds.length;
  }
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: cached },
  };
}
