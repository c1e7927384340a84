import * as z from 'zod/mini';
import { answerFields } from './answer-fields.ts';
import { flag, integer, type RequestSchema, text } from './fields.ts';
import { emptyList, is, never, samplingFields, unsupportedSampling } from './sampling-fields.ts';
import { streamFields } from './stream-options.ts';
import { constraintFields } from './structured-fields.ts';
import { toolFields } from './tools/tool-request.ts';

const shape = {
  model: text,
  /** Each is checked by toChatMessages, which stops at the first fault: a schema would list millions. */
  messages: z.array(z.unknown()).check(z.minLength(1)),
  max_tokens: integer(1),
  max_completion_tokens: integer(1),
  logprobs: flag,
  top_logprobs: integer(0),
  add_generation_prompt: flag,
  continue_final_message: flag,
  prompt_logprobs: integer(-1),
  return_token_ids: flag,
  include_reasoning: flag,
  /** -1: none. */
  thinking_token_budget: integer(-1),
  reasoning_effort: text,
  chat_template_kwargs: z.nullish(z.looseObject({})),
  ...toolFields,
  echo: flag,
  add_special_tokens: flag,
  ...answerFields,
  ...streamFields,
};

/** POST /v1/chat/completions */
export const chatSchema: RequestSchema<typeof shape> = {
  fields: z.looseObject(shape),
  passed: [...samplingFields, ...constraintFields],
  unsupported: {
    ...unsupportedSampling,
    functions: emptyList,
    function_call: is('none', 'auto'),
    audio: never,
    modalities: value => Array.isArray(value) && value.every(v => v === 'text'),
    prediction: never,
    web_search_options: never,
    verbosity: is('medium'),
    documents: emptyList,
    chat_template: never,
    mm_processor_kwargs: never,
    media_io_kwargs: never,
  },
};
export type ChatRequest = z.output<typeof chatSchema.fields>;
