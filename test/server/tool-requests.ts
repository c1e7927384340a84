import OpenAI from 'openai';
import { characterTokenizer, type Script } from './fake-engine.ts';
import { type FakeServer, startFakeServer } from './fake-server.ts';

/** A tool whose arguments are few, so that a small model soon has written them. */
export const weather = {
  type: 'function',
  function: {
    name: 'weather',
    description: 'Tells the weather of a city',
    parameters: {
      type: 'object',
      properties: { city: { enum: ['Oslo', 'Rome'] }, days: { type: 'integer', minimum: 1, maximum: 9 } },
      required: ['city', 'days'],
    },
  },
} as const;
export const clock = {
  type: 'function',
  function: { name: 'clock', parameters: { type: 'object', properties: {} } },
} as const;

/** A script that says a text in pieces of a few characters. */
export function says(text: string, size = 7): Script {
  return async function* () {
    for (let at = 0; at < text.length; at += size) yield text.slice(at, at + size);
  };
}

export interface Scripted extends FakeServer {
  client: OpenAI;
  /** What the model says next. */
  say(text: string, size?: number): void;
  /** The messages and options that the chat template got last. */
  rendered(): { messages: unknown; options: Record<string, unknown> };
}

type Options = NonNullable<Parameters<typeof startFakeServer>[1]>;

/** A server whose model follows a script, which `say` replaces. */
export async function startScripted(options: Options = {}, first: Script = says('')): Promise<Scripted> {
  let script = first;
  let rendered: { messages: unknown; options: Record<string, unknown> } = { messages: null, options: {} };
  const tokenizer: typeof characterTokenizer = {
    ...characterTokenizer,
    ...options.tokenizer,
    encodeChat: (messages, given) => {
      rendered = { messages, options: { ...given } };
      return (options.tokenizer ?? characterTokenizer).encodeChat(messages, given);
    },
  };
  const fake = await startFakeServer(request => script(request), { ...options, tokenizer });
  const client = new OpenAI({ baseURL: `${fake.origin}/v1`, apiKey: 'none', maxRetries: 0 });
  return {
    ...fake,
    client,
    say: (text, size) => {
      script = says(text, size);
    },
    rendered: () => rendered,
  };
}

/** Posts a chat request with a short message, and these fields. */
export function postChat(origin: string, fields: object): Promise<Response> {
  return fetch(`${origin}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ messages: [{ role: 'user', content: 'hi' }], ...fields }),
  });
}
