import { type AppContext, servedModel } from '../app/context.ts';
import { invalidField } from '../http/errors.ts';
import { type CompletionRequest, completionSchema, listPrompts } from './completion-request.ts';
import { parseRequest } from './fields.ts';
import {
  checkContext,
  type Generation,
  keptTokens,
  sequencesPerPrompt,
  type TokenPrompt,
  tokenise,
  truncate,
} from './run.ts';
import { toSamplingParams } from './sampling-fields.ts';
import { type StreamChoice, streamChoice } from './stream-options.ts';
import { type Constraint, constraintOf, structured } from './structured-fields.ts';

/** Tokens of a completion that does not say: OpenAI's and vLLM's. */
const DEFAULT_MAX_TOKENS = 16;

/** A completion request that was checked, before its prompts are tokenised. */
export interface CompletionPlan {
  readonly request: CompletionRequest;
  /** Fields without effect. */
  readonly ignored: readonly string[];
  readonly model: string;
  readonly streaming: StreamChoice;
  readonly prompts: readonly (string | number[])[];
  readonly constraint: Constraint | null;
  /** Places in the queue that it takes. */
  readonly sequences: number;
}

/** Checks a body. Throws HttpError 400 or 404 that names the field. */
export function planCompletion(app: AppContext, body: Readonly<Record<string, unknown>>): CompletionPlan {
  const { request, ignored } = parseRequest(completionSchema, body, app.strict);
  const model = servedModel(app, request.model);
  const streaming = streamChoice(request);
  const prompts = listPrompts(request.prompt);
  checkNoTokens(request);
  const constraint = constraintOf(request);
  const sequences = prompts.length * sequencesPerPrompt(request);
  return { request, ignored, model, streaming, prompts, constraint, sequences };
}

/** What the engine gets. Rejects with HttpError 400 when a prompt does not fit. */
export async function encodeCompletion(app: AppContext, plan: CompletionPlan): Promise<Generation> {
  const { request, constraint } = plan;
  const maxTokens = maxTokensOf(request);
  const keep = keptTokens(app, request.truncate_prompt_tokens, maxTokens);
  const prompts = await Promise.all(plan.prompts.map(prompt => readPrompt(app, prompt, keep, request)));
  for (const prompt of prompts) checkContext(prompt, maxTokens, 'max_tokens', app);
  const params = toSamplingParams(request, { ...samplingOf(request, maxTokens), ...structured(constraint) });
  return { model: plan.model, prompts, params, constraint };
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

/** A request for no tokens scores its prompt. The engine always samples one, which is then left out. */
function maxTokensOf({ max_tokens: given }: CompletionRequest): number | null {
  if (given === undefined) return DEFAULT_MAX_TOKENS;
  return given === 0 ? 1 : given;
}

function checkNoTokens({ max_tokens: given, echo }: CompletionRequest): void {
  if (given !== 0 || echo === true) return;
  throw invalidField('max_tokens', 'max_tokens must be at least 1 without echo; found 0.', 'invalid_value');
}
