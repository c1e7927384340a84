import type { ChatTemplateFacts } from '@quire/core';
import * as z from 'zod/mini';
import { invalidField } from '../../http/errors.ts';
import { fieldError, flag, notSupported, show, text } from '../fields.ts';

/** Tools of one request, and characters of their definitions as JSON. */
const MAX_TOOLS = 128;
const MAX_CHARACTERS = 524_288;
const MAX_NAME = 256;

export interface Tool {
  readonly name: string;
  /** A JSON schema of the arguments. */
  readonly parameters: Readonly<Record<string, unknown>>;
}

/** The tools of a request, and how the model is to use them. */
export interface ToolRequest {
  /** As they were given, for the chat template. */
  readonly definitions: readonly object[];
  readonly tools: readonly Tool[];
  /** `named`: the only tool that `callable` has. */
  readonly choice: 'none' | 'auto' | 'required' | 'named';
  /** Indices of the tools that may be called. */
  readonly callable: readonly number[];
  readonly parallel: boolean;
}

/** Fields of a chat request that say what tools there are. Each tool is checked on its own: see readTools. */
export const toolFields = {
  tools: z.nullish(z.array(z.unknown())),
  tool_choice: z.nullish(z.union([z.string(), z.looseObject({})])),
  parallel_tool_calls: flag,
};

const definition = z.looseObject({
  type: text,
  function: z.looseObject({
    name: z.string().check(z.minLength(1), z.maxLength(MAX_NAME)),
    description: text,
    parameters: z.nullish(z.looseObject({})),
    strict: flag,
  }),
});

interface ToolFields {
  tools?: readonly unknown[] | null | undefined;
  tool_choice?: string | object | null | undefined;
  parallel_tool_calls?: boolean | null | undefined;
}

/** Throws HttpError 400 that names the field, such as tools[3].function.parameters. null: there are no tools. */
export function readTools(request: ToolFields): ToolRequest | null {
  const given = request.tools ?? [];
  const choice = request.tool_choice ?? (given.length === 0 ? 'none' : 'auto');
  if (given.length === 0) {
    if (choice === 'none' || choice === 'auto') return null;
    throw invalidField('tool_choice', 'tool_choice needs tools: this request has none.', 'invalid_value');
  }
  if (given.length > MAX_TOOLS) {
    throw invalidField(
      'tools',
      `tools has ${given.length} entries; at most ${MAX_TOOLS} are allowed.`,
      'invalid_value',
    );
  }
  const tools = given.map((tool, i) => readTool(tool, `tools[${i}]`));
  checkNames(tools);
  const definitions = given as object[];
  checkLength(definitions);
  return { definitions, tools, ...readChoice(choice, tools), parallel: request.parallel_tool_calls !== false };
}

function readTool(given: unknown, place: string): Tool {
  const { type } = (given ?? {}) as { type?: unknown };
  if (typeof type === 'string' && type !== 'function') throw notSupported(`${place}.type`, type);
  const result = definition.safeParse(given);
  if (!result.success) throw fieldError(result.error, given, place);
  const { name, parameters } = result.data.function;
  return { name, parameters: readParameters(parameters ?? {}, `${place}.function.parameters`) };
}

/** Arguments are an object, whether or not the schema says so. */
function readParameters(parameters: Readonly<Record<string, unknown>>, place: string): Tool['parameters'] {
  const { type } = parameters;
  if (type === 'object') return parameters;
  if (type === undefined) return { type: 'object', ...parameters };
  throw invalidField(`${place}.type`, `${place}.type must be "object"; found ${show(type)}.`, 'invalid_value');
}

function checkNames(tools: readonly Tool[]): void {
  const seen = new Set<string>();
  for (const [i, { name }] of tools.entries()) {
    const place = `tools[${i}].function.name`;
    if (seen.has(name))
      throw invalidField(place, `${place} ${show(name)} is the name of another tool.`, 'invalid_value');
    seen.add(name);
  }
}

function checkLength(definitions: readonly object[]): void {
  const { length } = JSON.stringify(definitions);
  if (length <= MAX_CHARACTERS) return;
  throw invalidField(
    'tools',
    `tools has ${length} characters; at most ${MAX_CHARACTERS} are allowed.`,
    'invalid_value',
  );
}

function readChoice(choice: string | object, tools: readonly Tool[]): Pick<ToolRequest, 'choice' | 'callable'> {
  const all = tools.map((_, i) => i);
  if (choice === 'none' || choice === 'auto' || choice === 'required') return { choice, callable: all };
  const { type, function: named } = choice as { type?: unknown; function?: { name?: unknown } };
  if (typeof choice === 'string' || (type !== undefined && type !== 'function')) {
    const found = show(typeof choice === 'string' ? choice : type);
    throw invalidField(
      'tool_choice',
      `tool_choice must be none, auto, required or a function by its name; found ${found}.`,
      'invalid_value',
    );
  }
  const index = tools.findIndex(tool => tool.name === named?.name);
  if (index >= 0) return { choice: 'named', callable: [index] };
  const place = 'tool_choice.function.name';
  throw invalidField(
    place,
    `${place} must be the name of one of the tools; found ${show(named?.name)}.`,
    'invalid_value',
  );
}

/** OpenAI's older fields. Throws HttpError 400 that says what took their place. */
export function refuseFunctions(body: Readonly<Record<string, unknown>>): void {
  const { functions, function_call: call } = body;
  const hasFunctions = Array.isArray(functions) && functions.length > 0;
  const field = hasFunctions ? 'functions' : typeof call === 'object' && call !== null ? 'function_call' : null;
  if (field === null) return;
  const successor = hasFunctions ? 'tools' : 'tool_choice';
  throw invalidField(field, `${field} is not supported: send ${successor}, which took its place.`, 'unsupported_value');
}

/**
 * Whether this server can do what a request asks of the model. Throws HttpError 400: the model would not be told of its tools, its
 * way of calling them is not known, or the text is bound otherwise (by `constrainedBy`).
 */
export function checkToolUse(
  request: ToolRequest | null,
  features: { readonly autoToolChoice: boolean },
  template: ChatTemplateFacts | null,
  constrainedBy: string | null,
): void {
  if (request === null || request.choice === 'none') return;
  if (request.choice !== 'auto') {
    if (constrainedBy === null) return;
    const message = `${constrainedBy} cannot be used together with a tool_choice that asks for calls.`;
    throw invalidField(constrainedBy, message, 'invalid_value');
  }
  if (template !== null && !template.names.has('tools')) {
    throw invalidField(
      'tools',
      'The chat template of this model knows no tools, so the model would not be told of them. Ask for a call with tool_choice "required" or a function by its name.',
      'unsupported_value',
    );
  }
  if (features.autoToolChoice) return;
  throw invalidField(
    'tool_choice',
    '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set.',
    'unsupported_value',
  );
}
