import type { SamplingParams } from '@quire/core';
import type { NeutralValues } from './fields.ts';

/** Sampling fields that keep their name: OpenAI's, then vLLM's. The engine checks their types and ranges. */
export const samplingFields = [
  'n',
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
  'prompt_logprobs',
  'cache_salt',
] as const;

/** Fields whose wire name or default differs from the engine's. */
export interface OwnSampling {
  maxTokens: number | null;
  logprobs: number | null;
  promptLogprobs?: number | null;
}

/** The sampling fields of a request as the engine takes them. null means "not given": defaults are the model's and the engine's. */
export function toSamplingParams(request: Readonly<Record<string, unknown>>, own: OwnSampling): SamplingParams {
  const given = samplingFields.filter(name => request[name] !== null && request[name] !== undefined);
  return { ...Object.fromEntries(given.map(name => [name, request[name]])), ...own };
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
  use_beam_search: off,
  length_penalty: is(1),
  allowed_token_ids: never,
  bad_words: emptyList,
  logprob_token_ids: emptyList,
  truncate_prompt_tokens: never,
  spaces_between_special_tokens: is(true),
  structured_outputs: never,
  guided_json: never,
  guided_regex: never,
  guided_choice: never,
  guided_grammar: never,
  response_format: value => (value as { type?: unknown }).type === 'text',
  return_tokens_as_token_ids: off,
  return_prompt_text: off,
  kv_transfer_params: never,
  vllm_xargs: emptyObject,
  repetition_detection: never,
  thinking_token_budget: never,
  store: off,
};
