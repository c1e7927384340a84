import { InvalidRequestError } from '../../errors.ts';
import { show } from '../../names.ts';
import type { ChatMessage, ChatTemplateOptions } from '../types.ts';
import type { Marks } from './marks.ts';

/** Objects and lists within each other, as deep as templates can handle values. */
const MAX_DEPTH = 60;
const MAX_KWARGS = 64;
const MAX_KWARG_LENGTH = 1024;

/** What a request gives to a template besides its messages' text: tools, calls and variables. */
export class RequestValues {
  /** All strings and keys. */
  readonly texts: string[] = [];
  /** Objects and lists. */
  containers = 0;

  /** Throws InvalidRequestError for values that are not JSON, or too deep. */
  constructor(messages: readonly ChatMessage[], { tools = [], chatTemplateKwargs = {} }: ChatTemplateOptions) {
    this.#visit(tools, 'tools', 0);
    this.#visit(Object.values(chatTemplateKwargs), 'chat_template_kwargs', 0);
    for (const { toolCalls = [], toolCallId = '', reasoning = '' } of messages) {
      this.#visit(toolCalls, 'messages', 0);
      this.texts.push(toolCallId, reasoning);
    }
  }

  get length(): number {
    return this.texts.reduce((sum, text) => sum + text.length, 0);
  }

  #visit(value: unknown, param: string, depth: number): void {
    if (typeof value === 'string') this.texts.push(value);
    else if (typeof value === 'object' && value !== null) {
      if (depth > MAX_DEPTH) throw new InvalidRequestError(`${param} is nested more than ${MAX_DEPTH} deep.`, param);
      this.containers++;
      for (const [key, entry] of Object.entries(value)) {
        if (!Array.isArray(value)) this.texts.push(key);
        this.#visit(entry, param, depth + 1);
      }
    } else if (typeof value === 'function' || typeof value === 'bigint' || typeof value === 'symbol') {
      throw new InvalidRequestError(`${param} has a value that JSON has not: ${show(value)}.`, param);
    }
  }
}

/** A JSON value with its strings and keys marked; what is undefined is left out. */
export function markValue(value: unknown, marks: Marks): unknown {
  if (typeof value === 'string') return marks.mark(value);
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(item => markValue(item, marks));
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  return Object.fromEntries(entries.map(([key, item]) => [marks.markKey(key), markValue(item, marks)]));
}

/** A message as a template sees it, in OpenAI's form, with the arguments of calls as values. */
export function markMessage(message: ChatMessage, marks: Marks): Record<string, unknown> {
  const { role, content, name, toolCalls, toolCallId, reasoning } = message;
  const marked: Record<string, unknown> = { role: marks.markRole(role), content: marks.mark(content) };
  if (name !== undefined) marked.name = marks.mark(name);
  if (toolCallId !== undefined) marked.tool_call_id = marks.mark(toolCallId);
  if (reasoning !== undefined) marked.reasoning = marked.reasoning_content = marks.mark(reasoning);
  if (toolCalls !== undefined) {
    marked.tool_calls = toolCalls.map(call => ({
      id: marks.mark(call.id),
      type: 'function',
      function: { name: marks.mark(call.name), arguments: markValue(call.arguments, marks) },
    }));
  }
  return marked;
}

/** Throws InvalidRequestError for variables that are not plain values, or would hide a name of the renderer's. */
export function checkKwargs(kwargs: Readonly<Record<string, unknown>>, ownNames: ReadonlySet<string>): void {
  const fail = (problem: string): never => {
    throw new InvalidRequestError(`chat_template_kwargs ${problem}.`, 'chat_template_kwargs');
  };
  const entries = Object.entries(kwargs);
  if (entries.length > MAX_KWARGS) fail(`has ${entries.length} entries; at most ${MAX_KWARGS} are allowed`);
  for (const [name, value] of entries) {
    const place = show(name);
    if (!/^[A-Za-z_][A-Za-z0-9_]{0,63}$/.test(name)) fail(`has an entry ${place}, which is no name of a variable`);
    if (ownNames.has(name)) fail(`cannot set ${place}: the server gives it its value`);
    if (typeof value === 'number' && !Number.isFinite(value)) fail(`has an entry ${place} that is no finite number`);
    if (typeof value === 'object' ? value !== null : !['string', 'number', 'boolean'].includes(typeof value)) {
      fail(`has an entry ${place} that is neither text, a number, true, false nor null`);
    }
    if (typeof value === 'string' && value.length > MAX_KWARG_LENGTH) {
      fail(`has an entry ${place} of ${value.length} characters; at most ${MAX_KWARG_LENGTH} are allowed`);
    }
  }
}
