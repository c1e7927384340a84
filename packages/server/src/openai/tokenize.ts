import { MAX_TRUNCATED_CONTEXTS } from '@quire/core';
import * as z from 'zod/mini';
import { type AppContext, servedModel } from '../app/context.ts';
import { readJsonBody } from '../http/body.ts';
import { invalidField } from '../http/errors.ts';
import { jsonReply, type Reply } from '../http/reply.ts';
import type { AppRequest } from '../http/request.ts';
import { encodeMessages, planChat } from './chat-plan.ts';
import { flag, parseRequest, type RequestSchema, text } from './fields.ts';
import { tokenText } from './logprobs.ts';
import { ignoredHeader, tokenise } from './run.ts';

const promptShape = {
  model: text,
  prompt: z.string(),
  add_special_tokens: flag,
  return_token_strs: flag,
};
/** POST /tokenize of a text, which is not chat. */
export const tokenizeSchema: RequestSchema<typeof promptShape> = {
  fields: z.looseObject(promptShape),
  passed: [],
  unsupported: {},
};

const idsShape = { model: text, tokens: z.array(z.unknown()) };
/** POST /detokenize */
export const detokenizeSchema: RequestSchema<typeof idsShape> = {
  fields: z.looseObject(idsShape),
  passed: [],
  unsupported: {},
};

/** POST /tokenize: a prompt as /v1/completions sees it, or messages as /v1/chat/completions does. */
export async function handleTokenize(app: AppContext, given: AppRequest): Promise<Reply> {
  const body = await readJsonBody(given, app.maxBodyBytes);
  const isChat = body.messages !== undefined && body.messages !== null;
  const { tokens, ignored } = isChat ? await tokenizeChat(app, body) : await tokenizePrompt(app, body);
  const { tokenizer, engine } = app;
  const strings = body.return_token_strs === true ? tokens.map(id => tokenText(tokenizer.tokenBytes(id))) : null;
  const answer = { count: tokens.length, max_model_len: engine.limits.maxModelLen, tokens, token_strs: strings };
  return jsonReply(answer, ignoredHeader(ignored));
}

interface Tokenized {
  tokens: number[];
  ignored: readonly string[];
}

async function tokenizePrompt(app: AppContext, body: Readonly<Record<string, unknown>>): Promise<Tokenized> {
  const { request, ignored } = parseRequest(tokenizeSchema, body, app.strict);
  servedModel(app, request.model);
  const addSpecialTokens = request.add_special_tokens ?? true;
  const encode = (maxTokens: number) => app.tokenizer.encode(request.prompt, { addSpecialTokens, maxTokens });
  return { tokens: await tokenise(app, 'prompt', longest(app), encode), ignored };
}

async function tokenizeChat(app: AppContext, body: Readonly<Record<string, unknown>>): Promise<Tokenized> {
  const { return_token_strs: strings, ...chat } = body;
  if (strings !== undefined && strings !== null && typeof strings !== 'boolean') {
    throw invalidField('return_token_strs', 'return_token_strs must be true or false.', 'invalid_value');
  }
  const plan = planChat(app, chat);
  return { tokens: await encodeMessages(app, plan, longest(app)), ignored: plan.ignored };
}

/** Texts beyond the context can be counted too, up to the longest that the server tokenises at all. */
function longest(app: AppContext): number {
  return MAX_TRUNCATED_CONTEXTS * app.engine.limits.maxModelLen;
}

/** POST /detokenize: special tokens are spelled out, so that what was tokenised comes back. */
export async function handleDetokenize(app: AppContext, given: AppRequest): Promise<Reply> {
  const body = await readJsonBody(given, app.maxBodyBytes);
  const { request, ignored } = parseRequest(detokenizeSchema, body, app.strict);
  servedModel(app, request.model);
  const ids = tokenIds(request.tokens, 'tokens', app.tokenizer.vocabSize);
  return jsonReply({ prompt: app.tokenizer.decode(ids, { skipSpecialTokens: false }) }, ignoredHeader(ignored));
}

/** Throws HttpError 400 that names the first entry that is no id. */
function tokenIds(values: readonly unknown[], field: string, vocabSize: number): number[] {
  const wrong = values.findIndex(id => !Number.isInteger(id) || (id as number) < 0 || (id as number) >= vocabSize);
  if (wrong < 0) return values as number[];
  const message = `${field}[${wrong}] must be a token id from 0 to ${vocabSize - 1}; found ${JSON.stringify(values[wrong])?.slice(0, 80)}.`;
  throw invalidField(field, message, 'invalid_value');
}
