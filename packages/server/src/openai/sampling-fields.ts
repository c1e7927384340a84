import type { SamplingParams, StructuredOutputs, ThinkingBudget } from '@quire/core';
import type { NeutralValues } from './fields.ts';

/** Sampling fields that keep their name: OpenAI's, then vLLM's. The engine checks their types and ranges. */
export const samplingFields = [
  'n',
  'best_of',
  'use_beam_search',
  'length_penalty',
  'early_stopping',
  'temperature',
  'top_p',
  'presence_penalty',
  'frequency_penalty',
  'seed',
  'stop',
  'logit_bias',
  'top_k',
  'min_p',
  'repetition_penalty',
  'stop_token_ids',
  'ignore_eos',
  'min_tokens',
  'include_stop_str_in_output',
  'skip_special_tokens',
  'spaces_between_special_tokens',
  'allowed_token_ids',
  'bad_words',
  'logprob_token_ids',
  'truncate_prompt_tokens',
  'priority',
  'prompt_logprobs',
  'cache_salt',
] as const;

export type SamplingField = (typeof samplingFields)[number];

/** Fields whose wire name or default differs from the engine's. */
export interface OwnSampling {
  maxTokens: number | null;
  logprobs: number | null;
  promptLogprobs?: number | null;
  thinkingTokenBudget?: ThinkingBudget;
  structuredOutputs?: StructuredOutputs;
}

/** The sampling fields of a request as the engine takes them. null means "not given": defaults are the model's and the engine's. */
export function toSamplingParams(request: Readonly<Record<string, unknown>>, own: OwnSampling): SamplingParams {
  const params: Record<string, unknown> = {};
  for (const name of samplingFields) {
    const value = request[name];
    if (value !== null && value !== undefined) params[name] = value;
  }
  Object.assign(params, own);
  // A list of ids says by itself how many log-probabilities there are.
  if (own.logprobs === 0 && params.logprob_token_ids !== undefined) params.logprobs = null;
  return params;
}

export const off: NeutralValues = value => value === false;
export const never: NeutralValues = () => false;
export const emptyList: NeutralValues = value => Array.isArray(value) && value.length === 0;
export const emptyObject: NeutralValues = value =>
  typeof value === 'object' && value !== null && Object.keys(value).length === 0;
export const is =
  (...values: unknown[]): NeutralValues =>
  value =>
    values.includes(value);

/** Known fields of vLLM and OpenAI that we do not do, in chat and completions alike. */
export const unsupportedSampling: Readonly<Record<string, NeutralValues>> = {
  detokenize: is(true),
  guided_decoding_backend: never,
  guided_whitespace_pattern: never,
  return_prompt_text: off,
  kv_transfer_params: never,
  vllm_xargs: emptyObject,
  repetition_detection: never,
};
