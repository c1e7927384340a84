import * as z from 'zod/mini';
import { cacheSalt, flag, integer, type RequestSchema, text, tokenIds } from './fields.ts';
import { never, off, samplingFields, unsupportedSampling } from './sampling-fields.ts';
import { streamFields } from './stream-options.ts';

/** Prompts of one request: each takes a place in the queue. */
export const MAX_PROMPTS = 256;

const prompts = z.union([
  z.string(),
  tokenIds,
  z.array(z.string()).check(z.maxLength(MAX_PROMPTS)),
  z.array(tokenIds).check(z.maxLength(MAX_PROMPTS)),
]);

const shape = {
  model: text,
  prompt: prompts,
  max_tokens: integer(1),
  echo: flag,
  logprobs: integer(0),
  return_token_ids: flag,
  cache_salt: cacheSalt,
  add_special_tokens: flag,
  ...streamFields,
};

/** POST /v1/completions */
export const completionSchema: RequestSchema<typeof shape> = {
  fields: z.looseObject(shape),
  passed: samplingFields,
  unsupported: {
    ...unsupportedSampling,
    suffix: value => value === '',
    best_of: (value, body) => value === (body.n ?? 1),
    prompt_embeds: never,
    continue_final_message: off,
  },
};
export type CompletionRequest = z.output<typeof completionSchema.fields>;

/** The prompts, one by one, as text or as token ids. */
export function listPrompts(prompt: CompletionRequest['prompt']): (string | number[])[] {
  if (typeof prompt === 'string') return [prompt];
  return typeof prompt[0] === 'number' || prompt.length === 0
    ? [prompt as number[]]
    : (prompt as (string | number[])[]);
}
