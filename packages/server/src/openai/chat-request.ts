import type { ChatMessage } from '@quire/core';
import * as z from 'zod/mini';
import { invalidField } from '../http/errors.ts';
import { cacheSalt, flag, integer, notSupported, type RequestSchema, text } from './fields.ts';
import { emptyList, emptyObject, is, never, off, samplingFields, unsupportedSampling } from './sampling-fields.ts';
import { streamFields } from './stream-options.ts';

const contentPart = z.looseObject({ type: z.string(), text: z.optional(z.string()) });
const message = z.looseObject({
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool', 'function']),
  content: z.nullish(z.union([z.string(), z.array(contentPart)])),
  name: text,
});

const shape = {
  model: text,
  messages: z.array(message).check(z.minLength(1)),
  max_tokens: integer(1),
  max_completion_tokens: integer(1),
  logprobs: flag,
  top_logprobs: integer(0),
  add_generation_prompt: flag,
  continue_final_message: flag,
  return_token_ids: flag,
  cache_salt: cacheSalt,
  ...streamFields,
};

/** POST /v1/chat/completions */
export const chatSchema: RequestSchema<typeof shape> = {
  fields: z.looseObject(shape),
  passed: samplingFields,
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
  return request.messages.map((m, i) => {
    const at = `messages[${i}]`;
    if (m.role === 'tool' || m.role === 'function') throw notSupported(`${at}.role`, m.role);
    for (const field of ['tool_calls', 'function_call', 'audio']) checkAbsent(`${at}.${field}`, m[field]);
    const content = contentText(m.content, `${at}.content`);
    return typeof m.name === 'string' ? { role: m.role, content, name: m.name } : { role: m.role, content };
  });
}

function checkAbsent(param: string, value: unknown): void {
  if (value !== undefined && value !== null && !emptyList(value, {})) throw notSupported(param, value);
}

type Content = ChatRequest['messages'][number]['content'];

function contentText(content: Content, param: string): string {
  if (typeof content === 'string') return content;
  if (content === null || content === undefined)
    throw invalidField(param, `${param} must be a string or a list of text parts.`);
  return content.map((part, i) => partText(part, `${param}[${i}]`)).join('\n');
}

function partText(part: { type: string; text?: string | undefined }, param: string): string {
  if (part.type !== 'text') throw notSupported(`${param}.type`, part.type);
  if (part.text === undefined) throw invalidField(`${param}.text`, `${param}.text must be a string; found nothing.`);
  return part.text;
}
