import * as z from 'zod/mini';
import { invalidField } from '../http/errors.ts';
import {
  fieldError,
  flag,
  integer,
  notSupported,
  parseRequest,
  type RequestSchema,
  show,
  text,
} from '../openai/fields.ts';
import { is, never, samplingFields } from '../openai/sampling-fields.ts';

const LOGPROBS = 'message.output_text.logprobs';

const shape = {
  model: text,
  /** Checked by readInput. */
  input: z.unknown(),
  instructions: text,
  max_output_tokens: integer(1),
  stream: flag,
  store: flag,
  /** Goes on when its client has left; asked for by its id. */
  background: flag,
  previous_response_id: text,
  metadata: z.nullish(z.record(z.string(), z.string())),
  text: z.nullish(z.looseObject({ format: z.nullish(z.looseObject({ type: z.string() })) })),
  tools: z.nullish(z.array(z.unknown())),
  tool_choice: z.nullish(z.union([z.enum(['auto', 'none', 'required']), z.looseObject({ type: z.string() })])),
  parallel_tool_calls: flag,
  reasoning: z.nullish(z.looseObject({ effort: text })),
  include: z.nullish(z.array(z.string())),
  top_logprobs: integer(0),
};

/** POST /v1/responses. Sampling fields are those of chat, vLLM's among them. */
export const responsesSchema: RequestSchema<typeof shape> = {
  fields: z.looseObject(shape),
  passed: samplingFields,
  unsupported: {
    truncation: is('disabled'),
    conversation: never,
    prompt: never,
    max_tool_calls: never,
    stream_options: never,
    context_management: never,
  },
};
export type ResponsesRequest = z.output<typeof responsesSchema.fields>;

export function readRequest(body: Readonly<Record<string, unknown>>, strict: boolean) {
  return parseRequest(responsesSchema, body, strict);
}

/** The request as a body for /v1/chat/completions. Throws HttpError 400 for what this server does not do. */
export function toChatBody(request: ResponsesRequest, messages: readonly object[]): Record<string, unknown> {
  const { instructions, include, tools, text } = request;
  for (const name of include ?? []) if (name !== LOGPROBS) throw notSupported('include', name);
  const logprobs = include?.includes(LOGPROBS) === true;
  if (request.top_logprobs && !logprobs) {
    throw invalidField('top_logprobs', `top_logprobs needs include: ["${LOGPROBS}"].`, 'invalid_value');
  }
  const sampling = samplingFields.filter(name => request[name] !== undefined).map(name => [name, request[name]]);
  if ((request.n ?? 1) !== 1) throw notSupported('n', request.n);
  return {
    ...Object.fromEntries(sampling),
    model: request.model,
    messages: instructions ? [{ role: 'system', content: instructions }, ...messages] : messages,
    max_completion_tokens: request.max_output_tokens,
    stream: request.stream,
    ...(logprobs ? { logprobs: true, top_logprobs: request.top_logprobs ?? 0 } : {}),
    ...(text?.format ? { response_format: toResponseFormat(text.format) } : {}),
    ...(tools?.length
      ? { tools: tools.map((tool, i) => toChatTool(tool, `tools[${i}]`)), ...toolFields(request) }
      : {}),
    ...(typeof request.reasoning?.effort === 'string' ? { reasoning_effort: request.reasoning.effort } : {}),
  };
}

function toResponseFormat({ type, ...schema }: { type: string; [field: string]: unknown }): object {
  return type === 'json_schema' ? { type, json_schema: schema } : { type };
}

const tool = z.looseObject({
  name: z.string(),
  description: text,
  parameters: z.nullish(z.looseObject({})),
  strict: flag,
});

function toChatTool(given: unknown, param: string): object {
  const type = (given as { type?: unknown } | null)?.type;
  if (type !== 'function') throw notSupported(`${param}.type`, type);
  const parsed = tool.safeParse(given);
  if (!parsed.success) throw fieldError(parsed.error, given, param);
  const { name, description, parameters, strict } = parsed.data;
  const fields = { description, parameters, strict };
  const stated = Object.entries(fields).filter(([, value]) => value !== null && value !== undefined);
  return { type, function: { name, ...Object.fromEntries(stated) } };
}

function toolFields({ tool_choice: choice, parallel_tool_calls: parallel }: ResponsesRequest): object {
  const calls = typeof parallel === 'boolean' ? { parallel_tool_calls: parallel } : {};
  if (choice === undefined || choice === null) return calls;
  if (typeof choice === 'string') return { ...calls, tool_choice: choice };
  const { type, name } = choice;
  if (type !== 'function') throw notSupported('tool_choice.type', type);
  if (typeof name === 'string') return { ...calls, tool_choice: { type, function: { name } } };
  throw invalidField('tool_choice.name', `tool_choice.name must be a string; found ${show(name)}.`, 'invalid_value');
}
