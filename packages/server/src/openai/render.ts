import { type SamplingParams, toSnakeCase } from '@quire/core';
import type { AppContext } from '../app/context.ts';
import { readJsonBody } from '../http/body.ts';
import { jsonReply, type Reply } from '../http/reply.ts';
import type { AppRequest } from '../http/request.ts';
import { answerId } from './answer-fields.ts';
import { encodePlan, planChat } from './chat-plan.ts';
import { encodeCompletion, planCompletion } from './completion-plan.ts';
import { type Generation, ignoredHeader, type TokenPrompt } from './run.ts';

/**
 * POST /v1/chat/completions/render: what the engine would get, without the engine. Routers ask for it to know where a prefix is
 * cached. The shape is vLLM's.
 */
export async function renderChat(app: AppContext, given: AppRequest): Promise<Reply> {
  const plan = planChat(app, await readJsonBody(given, app.maxBodyBytes));
  const generation = await encodePlan(app, plan);
  const [prompt] = generation.prompts;
  const rendered = render(
    prompt!,
    generation,
    plan.model,
    answerId('chatcmpl', given, plan.request),
    plan.streaming.stream,
  );
  return jsonReply(rendered, ignoredHeader(plan.ignored));
}

/** POST /v1/completions/render: the same, one entry per prompt. */
export async function renderCompletion(app: AppContext, given: AppRequest): Promise<Reply> {
  const plan = planCompletion(app, await readJsonBody(given, app.maxBodyBytes));
  const generation = await encodeCompletion(app, plan);
  const { model, streaming } = plan;
  const id = answerId('cmpl', given, plan.request);
  const rendered = generation.prompts.map((prompt, i) =>
    render(prompt, generation, model, `${id}-${i}`, streaming.stream),
  );
  return jsonReply(rendered, ignoredHeader(plan.ignored));
}

function render(prompt: TokenPrompt, { params }: Generation, model: string, requestId: string, stream: boolean) {
  const { cache_salt: cacheSalt = null, priority = 0, ...sampling } = spelled(params);
  return {
    request_id: requestId,
    model,
    token_ids: prompt.promptTokenIds,
    sampling_params: sampling,
    stream,
    cache_salt: cacheSalt,
    priority,
  };
}

/** The parameters that were given, under vLLM's names. */
function spelled(params: SamplingParams): Record<string, unknown> {
  const given = Object.entries(params).filter(([, value]) => value !== null && value !== undefined);
  return Object.fromEntries(given.map(([name, value]) => [toSnakeCase(name), value]));
}
