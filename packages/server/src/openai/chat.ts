import type { ChatMessage, ChatTemplateOptions } from '@quire/core';
import { type AppContext, servedModel } from '../app/context.ts';
import { readJsonBody } from '../http/body.ts';
import { invalidField } from '../http/errors.ts';
import { jsonReply, type Reply } from '../http/reply.ts';
import type { AppRequest } from '../http/request.ts';
import { type ChatRequest, chatSchema, toChatMessages } from './chat-request.ts';
import { ChatResponse } from './chat-response.ts';
import { parseRequest } from './fields.ts';
import {
  checkContext,
  collect,
  ignoredHeader,
  keptTokens,
  sequencesPerPrompt,
  streamEvents,
  tokenise,
  withPlaces,
} from './run.ts';
import { toSamplingParams } from './sampling-fields.ts';
import { streamChoice } from './stream-options.ts';
import { constraintOf, structured } from './structured-fields.ts';

/** POST /v1/chat/completions */
export async function handleChat(app: AppContext, given: AppRequest): Promise<Reply> {
  app.admission.checkRoom();
  app.engine.checkQueue();
  const body = await readJsonBody(given, app.maxBodyBytes);
  const { request, ignored } = parseRequest(chatSchema, body, app.strict);
  const model = servedModel(app, request.model);
  const streaming = streamChoice(request);
  const messages = toChatMessages(request);
  const template = templateOptions(request, messages);
  const logprobs = logprobsOf(request, app);
  const constraint = constraintOf(request);
  return withPlaces(app, sequencesPerPrompt(request), async () => {
    const lengthField = typeof request.max_completion_tokens === 'number' ? 'max_completion_tokens' : 'max_tokens';
    const maxTokens = request[lengthField] ?? null;
    const keep = keptTokens(app, request.truncate_prompt_tokens, maxTokens);
    const prompt = { prompt: null, promptTokenIds: await encodeChat(app, messages, keep, template) };
    checkContext(prompt, maxTokens, lengthField, app);
    const params = toSamplingParams(request, { maxTokens, logprobs, ...structured(constraint) });
    const response = new ChatResponse(app.tokenizer, {
      request,
      streaming,
      model,
      id: `chatcmpl-${given.requestId}`,
    });
    const headers = ignoredHeader(ignored);
    const generation = { prompts: [prompt], params, constraint };
    if (streaming.stream) return streamEvents(app, given, generation, response, headers);
    const [output] = await collect(app, given, generation);
    return jsonReply(response.whole(output!), headers);
  });
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

async function encodeChat(
  app: AppContext,
  messages: readonly ChatMessage[],
  keep: number | null,
  options: ChatTemplateOptions,
): Promise<number[]> {
  const { tokenizer } = app;
  if (!tokenizer.hasChatTemplate) {
    throw invalidField('messages', 'This model has no chat template: use /v1/completions.', 'no_chat_template');
  }
  return tokenise(app, 'messages', keep, maxTokens => tokenizer.encodeChat(messages, { ...options, maxTokens }));
}
