import * as z from 'zod/mini';
import { invalidField } from '../http/errors.ts';
import { newRequestId } from '../http/request.ts';
import { fieldError, notSupported, show, text } from '../openai/fields.ts';

/** An item of input or output, as the API shows it. */
export type Item = Readonly<Record<string, unknown>> & { readonly id: string; readonly type: string };

const message = z.looseObject({
  type: z.nullish(z.literal('message')),
  role: z.enum(['system', 'developer', 'user', 'assistant']),
  content: z.unknown(),
});
const call = z.looseObject({ call_id: z.string(), name: z.string(), arguments: z.string() });
const result = z.looseObject({ call_id: z.string(), output: z.unknown() });
const reasoning = z.looseObject({ content: z.nullish(z.array(z.looseObject({ text: z.string() }))), id: text });

const prefixes: Readonly<Record<string, string>> = {
  message: 'msg',
  function_call: 'fc',
  function_call_output: 'fco',
  reasoning: 'rs',
};

/** The input of a request as items, each with an id. Throws HttpError 400 that names the first one that is wrong. */
export function readInput(input: unknown): Item[] {
  if (typeof input === 'string') return [withId('message', { role: 'user', content: textPart('user', input) })];
  if (Array.isArray(input) && input.length > 0) return input.map((given, i) => readItem(given, `input[${i}]`));
  throw invalidField('input', `input must be a string or a list of items; found ${show(input)}.`, 'invalid_value');
}

function readItem(given: unknown, param: string): Item {
  const { type = 'message' } = (given ?? {}) as { type?: string };
  switch (type) {
    case 'message': {
      const { role, content, ...others } = check(message, given, param);
      return withId(type, { ...others, role, content: readContent(content, role, `${param}.content`) });
    }
    case 'function_call':
      return withId(type, check(call, given, param));
    case 'function_call_output': {
      const item = check(result, given, param);
      contentText(item.output, `${param}.output`);
      return withId(type, item);
    }
    case 'reasoning':
      return withId(type, check(reasoning, given, param));
    default:
      throw notSupported(`${param}.type`, type);
  }
}

function check<T extends z.ZodMiniType>(schema: T, given: unknown, param: string): z.output<T> {
  const parsed = schema.safeParse(given);
  if (!parsed.success) throw fieldError(parsed.error, given, param);
  return parsed.data;
}

/** Ids are the client's where it gave them: items of an answer come back with theirs. */
function withId(type: string, fields: Readonly<Record<string, unknown>>): Item {
  const id = typeof fields.id === 'string' && fields.id !== '' ? fields.id : newItemId(type);
  return { ...fields, id, type };
}

export function newItemId(type: string): string {
  return `${prefixes[type]}_${newRequestId()}`;
}

function textPart(role: string, text: string): object[] {
  return [role === 'assistant' ? { type: 'output_text', text, annotations: [] } : { type: 'input_text', text }];
}

function readContent(content: unknown, role: string, param: string): object[] {
  if (typeof content === 'string') return textPart(role, content);
  contentText(content, param);
  return content as object[];
}

const textTypes = ['input_text', 'output_text', 'text'];

/** The text of a string or of text parts. Throws HttpError 400 for other parts. */
function contentText(content: unknown, param: string): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) {
    throw invalidField(param, `${param} must be a string or a list of parts; found ${show(content)}.`, 'invalid_value');
  }
  return content.map((part, i) => partText(part, `${param}[${i}]`)).join('\n');
}

function partText(part: unknown, param: string): string {
  const { type, text } = (part ?? {}) as { type?: unknown; text?: unknown };
  if (typeof type !== 'string' || !textTypes.includes(type)) throw notSupported(`${param}.type`, type);
  if (typeof text === 'string') return text;
  throw invalidField(`${param}.text`, `${param}.text must be a string; found ${show(text)}.`, 'invalid_value');
}

/** Items of a conversation as messages for the chat route. What the model did in one turn is one message. */
export function toMessages(items: readonly Item[]): Record<string, unknown>[] {
  const messages: Record<string, unknown>[] = [];
  for (const item of items) {
    const last = messages.at(-1);
    const turn = last?.role === 'assistant' && last.tool_calls === undefined ? last : null;
    if (item.type === 'function_call_output') {
      messages.push({ role: 'tool', tool_call_id: item.call_id, content: contentText(item.output, 'input') });
    } else if (item.type === 'message' && item.role !== 'assistant') {
      messages.push({ role: item.role, content: contentText(item.content, 'input') });
    } else if (item.type === 'message') {
      const content = contentText(item.content, 'input');
      if (turn !== null && turn.content === '') turn.content = content;
      else messages.push({ role: 'assistant', content });
    } else if (item.type === 'reasoning') {
      messages.push({ role: 'assistant', content: '', reasoning: reasoningText(item) });
    } else {
      addCall(messages, item);
    }
  }
  return messages;
}

function addCall(messages: Record<string, unknown>[], { call_id: id, name, arguments: json }: Item): void {
  const call = { id, type: 'function', function: { name, arguments: json } };
  const last = messages.at(-1);
  if (last?.role === 'assistant') last.tool_calls = [...((last.tool_calls as object[]) ?? []), call];
  else messages.push({ role: 'assistant', content: '', tool_calls: [call] });
}

function reasoningText({ content }: Item): string {
  return ((content ?? []) as { text: string }[]).map(part => part.text).join('');
}
