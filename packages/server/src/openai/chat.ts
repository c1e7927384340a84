import type { ChatMessage, ChatTemplateOptions } from '@quire/core';
import { type AppContext, servedModel } from '../app/context.ts';
import { readJsonBody } from '../http/body.ts';
import { invalidField } from '../http/errors.ts';
import { sendJson } from '../http/respond.ts';
import type { RequestContext } from '../http/router.ts';
import { type ChatRequest, chatSchema, toChatMessages } from './chat-request.ts';
import { ChatResponse } from './chat-response.ts';
import { parseRequest } from './fields.ts';
import {
  announceIgnored,
  checkContext,
  collect,
  keptTokens,
  sequencesPerPrompt,
  streamEvents,
  tokenise,
} from './run.ts';
import { toSamplingParams } from './sampling-fields.ts';
import { streamChoice } from './stream-options.ts';
import { constraintOf, structured } from './structured-fields.ts';

/** POST /v1/chat/completions */
export async function handleChat(app: AppContext, context: RequestContext): Promise<void> {
  app.admission.checkRoom();
  app.engine.checkQueue();
  const body = await readJsonBody(context.req, app.maxBodyBytes);
  const { request, ignored } = parseRequest(chatSchema, body, app.strict);
  const model = servedModel(app, request.model);
  const streaming = streamChoice(request);
  const messages = toChatMessages(request);
  const template = templateOptions(request, messages);
  const logprobs = logprobsOf(request, app);
  const constraint = constraintOf(request);
  const release = app.admission.admit(sequencesPerPrompt(request));
  try {
    const lengthField = typeof request.max_completion_tokens === 'number' ? 'max_completion_tokens' : 'max_tokens';
    const maxTokens = request[lengthField] ?? null;
    const keep = keptTokens(app, request.truncate_prompt_tokens, maxTokens);
    const prompt = { prompt: null, promptTokenIds: encodeChat(app, messages, keep, template) };
    checkContext(prompt, maxTokens, lengthField, app);
    const params = toSamplingParams(request, { maxTokens, logprobs, ...structured(constraint) });
    const response = new ChatResponse(app.tokenizer, {
      request,
      streaming,
      model,
      id: `chatcmpl-${context.requestId}`,
    });
    announceIgnored(context, ignored);
    const generation = { prompts: [prompt], params, constraint };
    if (streaming.stream) return await streamEvents(app, context, generation, response);
    const [output] = await collect(app, context, generation);
    sendJson(context.res, 200, response.whole(output!));
  } finally {
    release();
  }
}

function templateOptions(request: ChatRequest, messages: readonly ChatMessage[]): ChatTemplateOptions {
  const continueFinalMessage = request.continue_final_message === true;
  if (!continueFinalMessage) return { addGenerationPrompt: request.add_generation_prompt !== false };
  if (request.add_generation_prompt === true) {
    const message = 'continue_final_message and add_generation_prompt cannot both be true.';
    throw invalidField('continue_final_message', message);
  }
  if (messages.at(-1)?.role !== 'assistant') {
    throw invalidField('continue_final_message', 'continue_final_message needs a last message of the role assistant.');
  }
  return { addGenerationPrompt: false, continueFinalMessage };
}

/** Checks what the engine knows by other names. */
function logprobsOf(request: ChatRequest, app: AppContext): number | null {
  const { logprobs, top_logprobs: top } = request;
  if (logprobs !== true) {
    if (typeof top === 'number' && top > 0) throw invalidField('top_logprobs', 'top_logprobs needs logprobs: true.');
    return null;
  }
  const { maxLogprobs } = app.engine.limits;
  if (typeof top === 'number' && top > maxLogprobs) {
    throw invalidField('top_logprobs', `top_logprobs must be at most ${maxLogprobs}; found ${top}.`, 'invalid_value');
  }
  return top ?? 0;
}

function encodeChat(
  app: AppContext,
  messages: readonly ChatMessage[],
  keep: number | null,
  options: ChatTemplateOptions,
): number[] {
  const { tokenizer } = app;
  if (!tokenizer.hasChatTemplate) {
    throw invalidField('messages', 'This model has no chat template: use /v1/completions.', 'no_chat_template');
  }
  return tokenise(app, 'messages', keep, maxTokens => tokenizer.encodeChat(messages, { ...options, maxTokens }));
}
