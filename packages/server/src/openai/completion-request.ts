import * as z from 'zod/mini';
import { invalidField } from '../http/errors.ts';
import { answerFields } from './answer-fields.ts';
import { flag, integer, type RequestSchema, show, text } from './fields.ts';
import { is, never, off, samplingFields, unsupportedSampling } from './sampling-fields.ts';
import { streamFields } from './stream-options.ts';
import { constraintFields } from './structured-fields.ts';

/** Prompts of one request: each takes a place in the queue. */
export const MAX_PROMPTS = 256;

const shape = {
  model: text,
  /** Checked by listPrompts, which stops at the first fault: a schema would list millions. */
  prompt: z.unknown(),
  /** 0 only with echo. */
  max_tokens: integer(0),
  echo: flag,
  logprobs: integer(0),
  prompt_logprobs: integer(-1),
  return_token_ids: flag,
  add_special_tokens: flag,
  ...answerFields,
  ...streamFields,
};

/** POST /v1/completions */
export const completionSchema: RequestSchema<typeof shape> = {
  fields: z.looseObject(shape),
  passed: [...samplingFields, ...constraintFields],
  unsupported: {
    ...unsupportedSampling,
    thinking_token_budget: is(-1),
    suffix: value => value === '',
    prompt_embeds: never,
    continue_final_message: off,
  },
};
export type CompletionRequest = z.output<typeof completionSchema.fields>;

/** The prompts, one by one, as text or as token ids, which the engine checks. Throws HttpError 400. */
export function listPrompts(prompt: unknown, field = 'prompt'): (string | number[])[] {
  if (typeof prompt === 'string') return [prompt];
  if (!Array.isArray(prompt)) throw notPrompts(prompt, field);
  if (prompt.length === 0 || typeof prompt[0] === 'number') return [prompt as number[]];
  const isText = prompt.every(entry => typeof entry === 'string');
  if (!isText && !prompt.every(entry => Array.isArray(entry))) throw notPrompts(prompt, field);
  if (prompt.length > MAX_PROMPTS) throw notPrompts(prompt, field);
  return prompt as string[] | number[][];
}

function notPrompts(found: unknown, field: string): Error {
  const expected = `a string, a list of token ids, or a list of at most ${MAX_PROMPTS} of either`;
  return invalidField(field, `${field} must be ${expected}; found ${show(found)}.`, 'invalid_value');
}
