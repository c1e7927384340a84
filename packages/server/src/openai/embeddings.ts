import {
  type EmbeddingOutput,
  embeddingOutput,
  InvalidRequestError,
  type PoolingParams,
  requirePooling,
  resolvePooling,
} from '@quire/core';
import * as z from 'zod/mini';
import { type AppContext, servedModel } from '../app/context.ts';
import { readJsonBody } from '../http/body.ts';
import { invalidField } from '../http/errors.ts';
import { jsonReply, type Reply } from '../http/reply.ts';
import type { AppRequest } from '../http/request.ts';
import { answerFields, answerId } from './answer-fields.ts';
import { listPrompts } from './completion-request.ts';
import { flag, integer, parseRequest, type RequestSchema, text } from './fields.ts';
import { collect, ignoredHeader, keptTokens, type TokenPrompt, tokenise, truncate, withPlaces } from './run.ts';
import { is, never } from './sampling-fields.ts';

const shape = {
  model: text,
  /** Checked by listPrompts, as prompts are. */
  input: z.unknown(),
  encoding_format: z.nullish(z.enum(['float', 'base64'])),
  dimensions: integer(1),
  normalize: flag,
  use_activation: flag,
  add_special_tokens: flag,
  request_id: answerFields.request_id,
};

/** POST /v1/embeddings */
export const embeddingSchema: RequestSchema<typeof shape> = {
  fields: z.looseObject(shape),
  passed: ['truncate_prompt_tokens', 'priority', 'cache_salt'],
  unsupported: {
    messages: never,
    embed_dtype: is('float32'),
    endianness: is('native', 'little'),
    truncation_side: is('left'),
    mm_processor_kwargs: never,
  },
};
type EmbeddingRequest = z.output<typeof embeddingSchema.fields>;

/** POST /v1/embeddings: OpenAI's, with vLLM's fields. */
export async function handleEmbeddings(app: AppContext, given: AppRequest): Promise<Reply> {
  app.admission.checkRoom();
  app.engine.checkQueue();
  const body = await readJsonBody(given, app.maxBodyBytes);
  const { request, ignored } = parseRequest(embeddingSchema, body, app.strict);
  const model = servedModel(app, request.model);
  const { form, rest } = resolvePooling(paramsOf(request), requirePooling(app.engine.limits));
  const inputs = listPrompts(request.input, 'input');
  return withPlaces(app, inputs.length, async () => {
    const keep = keptTokens(app, request.truncate_prompt_tokens, null);
    const prompts = await Promise.all(inputs.map(input => readInput(app, input, keep, request)));
    const { truncatePromptTokens: _, ...params } = rest;
    const outputs = await collect(app, given, { model, prompts, params, constraint: null, embeds: true });
    const embeddings = outputs.map(output => embeddingOutput(output, form));
    const answer = {
      id: answerId('embd', given, request),
      object: 'list',
      created: Math.floor(Date.now() / 1000),
      model,
    };
    return jsonReply({ ...answer, ...listOf(embeddings, request.encoding_format ?? 'float') }, ignoredHeader(ignored));
  });
}

function paramsOf(request: EmbeddingRequest): PoolingParams {
  const { dimensions, normalize, use_activation: useActivation, priority, cache_salt: cacheSalt } = request;
  if ((normalize ?? null) !== null && (useActivation ?? null) !== null && normalize !== useActivation) {
    throw invalidField(
      'use_activation',
      'use_activation is another name of normalize, and says otherwise.',
      'invalid_value',
    );
  }
  return {
    dimensions: dimensions ?? null,
    normalize: normalize ?? useActivation ?? null,
    ...(priority === undefined || priority === null ? {} : { priority: priority as number }),
    ...(cacheSalt === undefined || cacheSalt === null ? {} : { cacheSalt: cacheSalt as string }),
  };
}

/** The tokens of one input, special ones around a text as the tokenizer has it. */
async function readInput(
  app: AppContext,
  input: string | number[],
  keep: number | null,
  request: EmbeddingRequest,
): Promise<TokenPrompt> {
  if (typeof input !== 'string') return { prompt: null, promptTokenIds: truncate(input, keep) };
  const addSpecialTokens = request.add_special_tokens ?? true;
  const encode = (maxTokens: number) => app.tokenizer.encode(input, { addSpecialTokens, maxTokens });
  const promptTokenIds = await tokenise(app, 'input', keep, encode);
  if (promptTokenIds.length === 0) {
    throw new InvalidRequestError('input is empty: it has no tokens. Give at least one.', 'input');
  }
  return { prompt: input, promptTokenIds };
}

function listOf(embeddings: readonly EmbeddingOutput[], format: 'float' | 'base64') {
  const tokens = embeddings.reduce((sum, { promptTokenIds }) => sum + promptTokenIds.length, 0);
  const cached = embeddings.reduce((sum, { numCachedTokens }) => sum + numCachedTokens, 0);
  const data = embeddings.map(({ embedding }, index) => ({
    object: 'embedding',
    index,
    embedding: format === 'base64' ? base64(embedding) : Array.from(embedding),
  }));
  const details = { prompt_tokens_details: { cached_tokens: cached } };
  return { data, usage: { prompt_tokens: tokens, completion_tokens: 0, total_tokens: tokens, ...details } };
}

/** The bytes of f32, little-endian. */
function base64(embedding: Float32Array): string {
  const bytes = new DataView(new ArrayBuffer(4 * embedding.length));
  embedding.forEach((value, i) => {
    bytes.setFloat32(4 * i, value, true);
  });
  return btoa(String.fromCharCode(...new Uint8Array(bytes.buffer)));
}
