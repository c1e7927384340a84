import * as z from 'zod/mini';
import { invalidField } from '../http/errors.ts';
import { flag, integer, parseRequest, type RequestSchema, text } from '../openai/fields.ts';
import { emptyList, is, never } from '../openai/sampling-fields.ts';
import { toChatMessages } from './messages.ts';
import { toolFields, toolsOf } from './tools.ts';

const shared = {
  model: text,
  /** Each is checked by toChatMessages, which stops at the first fault. */
  messages: z.array(z.unknown()).check(z.minLength(1)),
  system: z.nullish(z.union([z.string(), z.array(z.unknown())])),
  thinking: z.nullish(z.looseObject({ type: z.enum(['enabled', 'disabled', 'adaptive']) })),
  ...toolFields,
};
const ignored = {
  metadata: () => true,
  service_tier: is('auto', 'standard_only'),
  mcp_servers: emptyList,
  container: never,
};

const messagesShape = {
  ...shared,
  max_tokens: z.int().check(z.gte(1)),
  stop_sequences: z.nullish(z.array(z.string().check(z.minLength(1)))),
  stream: flag,
  temperature: z.nullish(z.number()),
  top_p: z.nullish(z.number()),
  top_k: integer(0),
};
/** POST /v1/messages */
export const messagesSchema: RequestSchema<typeof messagesShape> = {
  fields: z.looseObject(messagesShape),
  passed: [],
  unsupported: ignored,
};

/** POST /v1/messages/count_tokens */
export const countSchema: RequestSchema<typeof shared> = {
  fields: z.looseObject(shared),
  passed: [],
  unsupported: ignored,
};

export interface ChatBody {
  /** A body for /v1/chat/completions. */
  readonly body: Record<string, unknown>;
  readonly ignored: readonly string[];
}

/** The same request in OpenAI's words. Throws HttpError 400 in those of Anthropic. */
export function readMessages(given: Readonly<Record<string, unknown>>, strict: boolean): ChatBody {
  const { request, ignored } = parseRequest(messagesSchema, given, strict);
  const { stop_sequences: stop, max_tokens, stream, temperature, top_p, top_k } = request;
  if (stop && stop.length > MAX_STOPS) {
    throw invalidField('stop_sequences', `stop_sequences must have at most ${MAX_STOPS} entries.`, 'invalid_value');
  }
  return { body: { ...conversation(request), stop, max_tokens, stream, temperature, top_p, top_k }, ignored };
}

const MAX_STOPS = 128;

/** The same for a request that only counts tokens. */
export function readCount(given: Readonly<Record<string, unknown>>, strict: boolean): ChatBody {
  const { request, ignored } = parseRequest(countSchema, given, strict);
  return { body: conversation(request), ignored };
}

function conversation(request: z.output<typeof countSchema.fields>): Record<string, unknown> {
  const messages = toChatMessages(request.messages, request.system);
  // A last turn of the model is the beginning of the answer.
  const isBegun = messages.at(-1)?.role === 'assistant' && messages.at(-1)?.tool_calls === undefined;
  return {
    model: request.model,
    messages,
    ...(isBegun ? { continue_final_message: true, add_generation_prompt: false } : {}),
    ...toolsOf(request),
  };
}
