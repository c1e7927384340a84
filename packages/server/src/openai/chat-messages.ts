import type { ChatMessage, ChatToolCall } from '@quire/core';
import * as z from 'zod/mini';
import { invalidField } from '../http/errors.ts';
import { fieldError, notSupported, show, text } from './fields.ts';
import { emptyList } from './sampling-fields.ts';

/** Calls of one message. */
const MAX_CALLS = 128;

/** One message; its content is checked by contentText, its calls by readCalls. */
const message = z.looseObject({
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool', 'function']),
  content: z.optional(z.unknown()),
  name: text,
  tool_call_id: text,
  reasoning: text,
  reasoning_content: text,
});

const call = z.looseObject({
  id: z.string(),
  type: z.nullish(z.literal('function')),
  function: z.looseObject({ name: z.string().check(z.minLength(1)), arguments: text }),
});

/** Messages as plain text. Throws HttpError 400 for roles and content that this server does not do. */
export function toChatMessages(messages: readonly unknown[]): ChatMessage[] {
  return messages.map((given, i) => toChatMessage(given, `messages[${i}]`));
}

function toChatMessage(given: unknown, param: string): ChatMessage {
  const result = message.safeParse(given);
  if (!result.success) throw fieldError(result.error, given, param);
  const { role, name, tool_call_id: toolCallId, tool_calls: calls, ...others } = result.data;
  if (role === 'function') throw notSupported(`${param}.role`, role);
  for (const field of ['function_call', 'audio']) checkAbsent(`${param}.${field}`, others[field]);
  if (role !== 'assistant') checkAbsent(`${param}.tool_calls`, calls);
  const toolCalls = readCalls(calls ?? [], `${param}.tool_calls`);
  const reasoning = role === 'assistant' ? (others.reasoning ?? others.reasoning_content) : null;
  // A turn that is nothing but calls has no content.
  const isOnlyCalls = toolCalls.length > 0 && (others.content ?? null) === null;
  return {
    role,
    content: isOnlyCalls ? '' : contentText(others.content, `${param}.content`),
    ...(typeof name === 'string' ? { name } : {}),
    ...(typeof toolCallId === 'string' ? { toolCallId } : {}),
    ...(toolCalls.length > 0 ? { toolCalls } : {}),
    ...(typeof reasoning === 'string' ? { reasoning } : {}),
  };
}

function readCalls(given: unknown, param: string): ChatToolCall[] {
  if (!Array.isArray(given)) {
    throw invalidField(param, `${param} must be an array; found ${show(given)}.`, 'invalid_value');
  }
  if (given.length > MAX_CALLS) {
    throw invalidField(
      param,
      `${param} has ${given.length} entries; at most ${MAX_CALLS} are allowed.`,
      'invalid_value',
    );
  }
  return given.map((entry, i) => readCall(entry, `${param}[${i}]`));
}

function readCall(given: unknown, param: string): ChatToolCall {
  const result = call.safeParse(given);
  if (!result.success) throw fieldError(result.error, given, param);
  const { id, function: called } = result.data;
  return { id, name: called.name, arguments: readArguments(called.arguments ?? '', `${param}.function.arguments`) };
}

/** Templates take arguments as values. No text means no arguments. */
function readArguments(json: string, param: string): ChatToolCall['arguments'] {
  if (json.trim() === '') return {};
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    // Told below.
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as ChatToolCall['arguments'];
  throw invalidField(param, `${param} must be a JSON object as text; found ${show(json)}.`, 'invalid_value');
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
