import { countSchema, messagesSchema } from '../anthropic/request.ts';
import { chatSchema } from '../openai/chat-request.ts';
import { completionSchema } from '../openai/completion-request.ts';
import { embeddingSchema } from '../openai/embeddings.ts';
import type { RequestSchema } from '../openai/fields.ts';
import { loadLoraSchema, unloadLoraSchema } from '../openai/lora.ts';
import { detokenizeSchema, tokenizeSchema } from '../openai/tokenize.ts';
import { responsesSchema } from '../responses/request.ts';

type Body = Pick<RequestSchema<Record<never, never>>, 'passed'> & { readonly fields: unknown };

/** What a reader should know of an operation beside its path. */
export interface OperationNote {
  readonly summary: string;
  readonly body?: Body;
  /** Bodies that work, by what they show. */
  readonly examples?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Names of parameters in the query. */
  readonly query?: readonly string[];
  /** Type of the answer. Default application/json. */
  readonly answer?: string;
}

const messages = [{ role: 'user', content: 'What is the capital of Japan?' }];
const text = 'text/plain';
const chatExamples = {
  whole: { messages, max_completion_tokens: 32, temperature: 0 },
  streamed: { messages, max_completion_tokens: 32, stream: true, stream_options: { include_usage: true } },
  logprobs: { messages, max_completion_tokens: 4, logprobs: true, top_logprobs: 2 },
  json: { messages, max_completion_tokens: 32, response_format: { type: 'json_object' } },
};
const completionExamples = {
  whole: { prompt: 'Once upon a time', max_tokens: 8, temperature: 0 },
  streamed: { prompt: 'Once upon a time', max_tokens: 8, stream: true },
  several: { prompt: ['Once upon a time', 'One day'], max_tokens: 4, n: 2, seed: 7 },
  scored: { prompt: 'Once upon a time', max_tokens: 1, echo: true, logprobs: 1 },
};

/** By method and path. A route without a note is documented by its path alone. */
export const operationNotes: Readonly<Record<string, OperationNote>> = {
  'GET /': { summary: 'A page with a request to copy.', answer: 'text/html' },
  'GET /openapi.json': { summary: 'What you read: the operations of this server.' },
  'GET /health': { summary: 'Whether new requests are taken.', answer: text },
  'GET /live': { summary: 'Whether the process answers.', answer: text },
  'GET /ping': { summary: 'The same as /health.', answer: text },
  'POST /ping': { summary: 'The same as /health.', answer: text },
  'GET /load': { summary: 'Sequences let in and not finished.' },
  'GET /version': { summary: 'The version of the server.' },
  'GET /metrics': { summary: 'Metrics for Prometheus.', answer: text },
  'GET /is_sleeping': { summary: 'Whether the engine sleeps.' },
  'POST /sleep': { summary: 'Frees what the device holds, until /wake_up.', query: ['level'], answer: text },
  'POST /wake_up': { summary: 'Wakes the engine.', answer: text },
  'GET /v1/models': { summary: 'The served names.' },
  'GET /v1/models/*': { summary: 'One served name.' },
  'POST /v1/load_lora_adapter': {
    summary: 'Loads an adapter from a folder that the operator allows.',
    body: loadLoraSchema,
    answer: text,
  },
  'POST /v1/unload_lora_adapter': {
    summary: 'Forgets an adapter; requests that began with it go on.',
    body: unloadLoraSchema,
    answer: text,
  },
  'POST /v1/chat/completions': { summary: 'Chat.', body: chatSchema, examples: chatExamples },
  'POST /v1/chat/completions/render': {
    summary: 'The token ids and parameters of a chat request, without an answer.',
    body: chatSchema,
    examples: { whole: chatExamples.whole },
  },
  'POST /v1/completions': {
    summary: 'Completions of text or token ids.',
    body: completionSchema,
    examples: completionExamples,
  },
  'POST /v1/completions/render': {
    summary: 'The token ids and parameters of a completion request, without an answer.',
    body: completionSchema,
    examples: { several: completionExamples.several },
  },
  'POST /v1/responses': {
    summary: 'A response to text or items.',
    body: responsesSchema,
    examples: {
      whole: { input: 'What is the capital of Japan?', max_output_tokens: 32, temperature: 0 },
      streamed: { input: messages, instructions: 'Be brief.', max_output_tokens: 32, stream: true },
    },
  },
  'GET /v1/responses/*': { summary: 'A stored response.' },
  'DELETE /v1/responses/*': { summary: 'Forgets a response.' },
  'POST /v1/responses/*/cancel': { summary: 'Ends a response that is streamed.' },
  'GET /v1/responses/*/input_items': { summary: 'What its request brought.', query: ['limit', 'after', 'order'] },
  'POST /v1/embeddings': {
    summary: 'Embeddings of texts or token ids, by a server of an embedding model.',
    body: embeddingSchema,
  },
  'POST /v1/messages': {
    summary: "Anthropic's messages.",
    body: messagesSchema,
    examples: {
      whole: { messages, max_tokens: 32, temperature: 0 },
      streamed: { messages, system: 'Be brief.', max_tokens: 32, stream: true, stop_sequences: ['Osaka'] },
    },
  },
  'POST /v1/messages/count_tokens': {
    summary: 'The number of tokens of messages.',
    body: countSchema,
    examples: { whole: { messages } },
  },
  'POST /tokenize': {
    summary: 'Token ids of a prompt, or of messages as chat sees them.',
    body: tokenizeSchema,
    examples: { prompt: { prompt: 'Once upon a time' }, strings: { prompt: 'Hello', return_token_strs: true } },
  },
  'POST /detokenize': {
    summary: 'The text of token ids.',
    body: detokenizeSchema,
    examples: { ids: { tokens: [375, 372, 260] } },
  },
};
