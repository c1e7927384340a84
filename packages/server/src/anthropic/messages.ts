import * as z from 'zod/mini';
import { invalidField } from '../http/errors.ts';
import { fieldError, notSupported, show } from '../openai/fields.ts';

/** A message for the chat route. */
export interface OpenAIMessage {
  role: 'system' | 'user' | 'assistant' | 'tool';
  content: string;
  reasoning?: string;
  tool_call_id?: string;
  tool_calls?: { id: string; type: 'function'; function: { name: string; arguments: string } }[];
}

const message = z.looseObject({ role: z.enum(['user', 'assistant']), content: z.unknown() });
const toolUse = z.looseObject({ id: z.string(), name: z.string(), input: z.looseObject({}) });
const toolResult = z.looseObject({ tool_use_id: z.string(), content: z.unknown() });

/** Throws HttpError 400 that names the first block that this server does not do. */
export function toChatMessages(given: readonly unknown[], system: unknown): OpenAIMessage[] {
  const instructions = system === undefined || system === null ? '' : textOf(system, 'system');
  const turns = given.flatMap((entry, i) => toTurns(entry, `messages[${i}]`));
  return instructions === '' ? turns : [{ role: 'system', content: instructions }, ...turns];
}

/** Results of tools are messages of their own, which come before what the user says with them. */
function toTurns(given: unknown, param: string): OpenAIMessage[] {
  const result = message.safeParse(given);
  if (!result.success) throw fieldError(result.error, given, param);
  const { role, content } = result.data;
  const place = `${param}.content`;
  if (typeof content === 'string') return [{ role, content }];
  if (!Array.isArray(content) || content.length === 0) {
    throw invalidField(
      place,
      `${place} must be a string or a list of blocks; found ${show(content)}.`,
      'invalid_value',
    );
  }
  return role === 'user' ? userTurns(content, place) : [assistantTurn(content, place)];
}

function userTurns(blocks: readonly unknown[], param: string): OpenAIMessage[] {
  const results: OpenAIMessage[] = [];
  const texts: string[] = [];
  blocks.forEach((block, i) => {
    const place = `${param}[${i}]`;
    const type = typeOf(block);
    if (type === 'text') texts.push(blockText(block, place));
    else if (type === 'tool_result') results.push(toolTurn(block, place));
    else throw notSupported(`${place}.type`, type);
  });
  return texts.length === 0 ? results : [...results, { role: 'user', content: texts.join('\n') }];
}

function toolTurn(block: unknown, param: string): OpenAIMessage {
  const result = toolResult.safeParse(block);
  if (!result.success) throw fieldError(result.error, block, param);
  const { tool_use_id: id, content } = result.data;
  const text = content === undefined || content === null ? '' : textOf(content, `${param}.content`);
  return { role: 'tool', tool_call_id: id, content: text };
}

function assistantTurn(blocks: readonly unknown[], param: string): OpenAIMessage {
  const turn: OpenAIMessage = { role: 'assistant', content: '' };
  const texts: string[] = [];
  blocks.forEach((block, i) => {
    const place = `${param}[${i}]`;
    const type = typeOf(block);
    if (type === 'text') texts.push(blockText(block, place));
    else if (type === 'thinking') turn.reasoning = (turn.reasoning ?? '') + blockText(block, place, 'thinking');
    else if (type === 'tool_use') turn.tool_calls = [...(turn.tool_calls ?? []), toolCall(block, place)];
    else throw notSupported(`${place}.type`, type);
  });
  turn.content = texts.join('\n');
  return turn;
}

function toolCall(block: unknown, param: string) {
  const result = toolUse.safeParse(block);
  if (!result.success) throw fieldError(result.error, block, param);
  const { id, name, input } = result.data;
  return { id, type: 'function' as const, function: { name, arguments: JSON.stringify(input) } };
}

/** A string, or blocks of text. */
function textOf(content: unknown, param: string): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) {
    throw invalidField(
      param,
      `${param} must be a string or a list of text blocks; found ${show(content)}.`,
      'invalid_value',
    );
  }
  const texts = content.map((block, i) => {
    if (typeOf(block) !== 'text') throw notSupported(`${param}[${i}].type`, typeOf(block));
    return blockText(block, `${param}[${i}]`);
  });
  return texts.join('\n');
}

function typeOf(block: unknown): unknown {
  return (block as { type?: unknown } | null)?.type;
}

function blockText(block: unknown, param: string, field = 'text'): string {
  const value = (block as Record<string, unknown>)[field];
  if (typeof value === 'string') return value;
  throw invalidField(`${param}.${field}`, `${param}.${field} must be a string; found ${show(value)}.`, 'invalid_value');
}
