import type { ChatMessage } from '@quire/core';
import * as z from 'zod/mini';
import { invalidField } from '../http/errors.ts';
import { fieldError, flag, integer, notSupported, type RequestSchema, show, text } from './fields.ts';
import { emptyList, emptyObject, is, never, off, samplingFields, unsupportedSampling } from './sampling-fields.ts';
import { streamFields } from './stream-options.ts';
import { constraintFields } from './structured-fields.ts';

/** One message; its content is checked by contentText. */
const message = z.looseObject({
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool', 'function']),
  content: z.unknown(),
  name: text,
});

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
  ...streamFields,
};

/** POST /v1/chat/completions */
export const chatSchema: RequestSchema<typeof shape> = {
  fields: z.looseObject(shape),
  passed: [...samplingFields, ...constraintFields],
  unsupported: {
    ...unsupportedSampling,
    tools: emptyList,
    tool_choice: is('none', 'auto'),
    functions: emptyList,
    function_call: is('none', 'auto'),
    audio: never,
    modalities: value => Array.isArray(value) && value.every(v => v === 'text'),
    prediction: never,
    web_search_options: never,
    reasoning_effort: is('none'),
    verbosity: is('medium'),
    documents: emptyList,
    chat_template: never,
    chat_template_kwargs: emptyObject,
    mm_processor_kwargs: never,
    media_io_kwargs: never,
    echo: off,
    add_special_tokens: off,
  },
};
export type ChatRequest = z.output<typeof chatSchema.fields>;

/** Messages as plain text. Throws HttpError 400 for roles and content that this server does not do. */
export function toChatMessages(request: ChatRequest): ChatMessage[] {
  return request.messages.map((given, i) => toChatMessage(given, `messages[${i}]`));
}

function toChatMessage(given: unknown, param: string): ChatMessage {
  const result = message.safeParse(given);
  if (!result.success) throw fieldError(result.error, given, param);
  const { role, content, name, ...others } = result.data;
  if (role === 'tool' || role === 'function') throw notSupported(`${param}.role`, role);
  for (const field of ['tool_calls', 'function_call', 'audio']) checkAbsent(`${param}.${field}`, others[field]);
  const text = contentText(content, `${param}.content`);
  return typeof name === 'string' ? { role, content: text, name } : { role, content: text };
}

function checkAbsent(param: string, value: unknown): void {
  if (value !== undefined && value !== null && !emptyList(value, {})) throw notSupported(param, value);
}

function contentText(content: unknown, param: string): string {
  if (typeof content === 'string') return content;
  if (Array.isArray(content)) return content.map((part, i) => partText(part, `${param}[${i}]`)).join('\n');
  throw invalidField(
    param,
    `${param} must be a string or a list of text parts; found ${show(content)}.`,
    'invalid_value',
  );
}

function partText(part: unknown, param: string): string {
  const { type, text } = (part ?? {}) as { type?: unknown; text?: unknown };
  if (type !== 'text') throw notSupported(`${param}.type`, type);
  if (typeof text === 'string') return text;
  throw invalidField(`${param}.text`, `${param}.text must be a string; found ${show(text)}.`, 'invalid_value');
}
