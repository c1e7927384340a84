import { type AppContext, servedModel } from '../app/context.ts';
import { readJsonBody } from '../http/body.ts';
import { jsonReply, type Reply } from '../http/reply.ts';
import type { AppRequest } from '../http/request.ts';
import { type CompletionRequest, completionSchema, listPrompts } from './completion-request.ts';
import { CompletionResponse } from './completion-response.ts';
import { parseRequest } from './fields.ts';
import {
  checkContext,
  collect,
  ignoredHeader,
  keptTokens,
  sequencesPerPrompt,
  streamEvents,
  type TokenPrompt,
  tokenise,
  truncate,
  withPlaces,
} from './run.ts';
import { toSamplingParams } from './sampling-fields.ts';
import { streamChoice } from './stream-options.ts';
import { constraintOf, structured } from './structured-fields.ts';

/** Tokens of a completion that does not say: OpenAI's and vLLM's. */
const DEFAULT_MAX_TOKENS = 16;

/** POST /v1/completions */
export async function handleCompletion(app: AppContext, given: AppRequest): Promise<Reply> {
  app.admission.checkRoom();
  app.engine.checkQueue();
  const body = await readJsonBody(given, app.maxBodyBytes);
  const { request, ignored } = parseRequest(completionSchema, body, app.strict);
  const model = servedModel(app, request.model);
  const streaming = streamChoice(request);
  const texts = listPrompts(request.prompt);
  const constraint = constraintOf(request);
  return withPlaces(app, texts.length * sequencesPerPrompt(request), async () => {
    const maxTokens = request.max_tokens === undefined ? DEFAULT_MAX_TOKENS : request.max_tokens;
    const keep = keptTokens(app, request.truncate_prompt_tokens, maxTokens);
    const prompts = await Promise.all(texts.map(prompt => readPrompt(app, prompt, keep, request)));
    for (const prompt of prompts) checkContext(prompt, maxTokens, 'max_tokens', app);
    const params = toSamplingParams(request, { ...samplingOf(request, maxTokens), ...structured(constraint) });
    const response = new CompletionResponse(app.tokenizer, {
      request,
      prompts,
      streaming,
      model,
      id: `cmpl-${given.requestId}`,
    });
    const headers = ignoredHeader(ignored);
    const generation = { prompts, params, constraint };
    if (streaming.stream) return streamEvents(app, given, generation, response, headers);
    return jsonReply(response.whole(await collect(app, given, generation)), headers);
  });
}

async function readPrompt(
  app: AppContext,
  prompt: string | number[],
  keep: number | null,
  request: CompletionRequest,
): Promise<TokenPrompt> {
  if (typeof prompt !== 'string') return { prompt: null, promptTokenIds: truncate(prompt, keep) };
  const addSpecialTokens = request.add_special_tokens ?? true;
  const encode = (maxTokens: number) => app.tokenizer.encode(prompt, { addSpecialTokens, maxTokens });
  const promptTokenIds = await tokenise(app, 'prompt', keep, encode);
  // An echo shows what the model saw.
  return { prompt: keep === null ? prompt : null, promptTokenIds };
}

/** An echoed prompt comes with log-probabilities of its own when they are asked for. */
function samplingOf(request: CompletionRequest, maxTokens: number | null) {
  const logprobs = request.logprobs ?? null;
  const echoed = request.echo === true && logprobs !== null;
  return { maxTokens, logprobs, ...(echoed ? { promptLogprobs: logprobs } : {}) };
}
