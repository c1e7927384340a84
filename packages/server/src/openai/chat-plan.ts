import type { ChatMessage, ChatTemplateOptions } from '@quire/core';
import { type AppContext, servedModel } from '../app/context.ts';
import { invalidField } from '../http/errors.ts';
import { toChatMessages } from './chat-messages.ts';
import { ChatOutput } from './chat-output.ts';
import { type ChatRequest, chatSchema } from './chat-request.ts';
import { templateVariables } from './chat-variables.ts';
import { parseRequest, unknownField } from './fields.ts';
import { checkContext, type Generation, keptTokens, sequencesPerPrompt, tokenise } from './run.ts';
import { toSamplingParams } from './sampling-fields.ts';
import { type StreamChoice, streamChoice } from './stream-options.ts';
import { type Constraint, constraintOf, structured } from './structured-fields.ts';
import { checkToolUse, readTools, refuseFunctions, type ToolRequest, toolFields } from './tools/tool-request.ts';

/** A chat request that was checked, before its prompt is tokenised. */
export interface ChatPlan {
  readonly request: ChatRequest;
  /** Fields without effect. */
  readonly ignored: readonly string[];
  readonly model: string;
  readonly streaming: StreamChoice;
  readonly messages: readonly ChatMessage[];
  readonly template: ChatTemplateOptions;
  /** Put around the rendered conversation what the model puts around prompts, which templates mostly write themselves. */
  readonly addSpecialTokens: boolean;
  readonly logprobs: number | null;
  readonly constraint: Constraint | null;
  readonly tools: ToolRequest | null;
  /** Places in the queue that it takes. */
  readonly sequences: number;
}

/** Checks a body. Throws HttpError 400 or 404 that names the field. */
export function planChat(app: AppContext, body: Readonly<Record<string, unknown>>): ChatPlan {
  refuseFunctions(body);
  const { request, ignored } = parseRequest(chatSchema, body, app.strict);
  const model = servedModel(app, request.model);
  const streaming = streamChoice(request);
  const messages = toChatMessages(request.messages);
  const tools = readTools(request);
  const constraint = constraintOf(request);
  checkToolUse(tools, app.features, app.tokenizer.chatTemplate, constraint?.field ?? null);
  const variables = templateVariables(request, app.tokenizer.chatTemplate);
  const idle = [...idleToolFields(request, tools), ...variables.idle];
  if (app.strict && idle[0] !== undefined) throw unknownField(idle[0], Object.keys(chatSchema.fields.shape));
  return {
    request,
    ignored: [...ignored, ...idle],
    model,
    streaming,
    messages,
    template: {
      ...templateOptions(request, messages),
      ...(tools === null ? {} : { tools: tools.definitions }),
      ...(variables.kwargs === null ? {} : { chatTemplateKwargs: variables.kwargs }),
    },
    addSpecialTokens: request.add_special_tokens === true,
    logprobs: logprobsOf(request, app),
    constraint,
    tools,
    sequences: sequencesPerPrompt(request),
  };
}

/** What the engine gets, and what becomes of its text. */
export interface ChatGeneration extends Generation {
  readonly output: ChatOutput;
}

/** Rejects with HttpError 400 when the prompt does not fit. */
export async function encodePlan(app: AppContext, plan: ChatPlan): Promise<ChatGeneration> {
  const { request, logprobs } = plan;
  const lengthField = typeof request.max_completion_tokens === 'number' ? 'max_completion_tokens' : 'max_tokens';
  const maxTokens = request[lengthField] ?? null;
  const keep = keptTokens(app, request.truncate_prompt_tokens, maxTokens);
  const prompt = { prompt: null, promptTokenIds: await encodeMessages(app, plan, keep) };
  checkContext(prompt, maxTokens, lengthField, app);
  const output = new ChatOutput(app, plan.tools, request.include_reasoning !== false, prompt.promptTokenIds);
  const constraint = output.constrain(plan.constraint);
  const thinkingTokenBudget = output.thinkingBudget(request.thinking_token_budget ?? -1);
  const own = { maxTokens, logprobs, ...structured(constraint) };
  const params = toSamplingParams(request, thinkingTokenBudget === null ? own : { ...own, thinkingTokenBudget });
  const shown = hasSpecial(app, output.markers) ? { skip_special_tokens: false, ...params } : params;
  return { model: plan.model, prompts: [prompt], params: shown, constraint, output };
}

/** Whether one of the texts is a special token, which would be left out of completions. */
function hasSpecial({ tokenizer }: AppContext, texts: readonly string[]): boolean {
  return texts.some(text => tokenizer.specialTokenIds.has(tokenizer.tokenToId(text) ?? -1));
}

/** Fields about tools in a request that has none. */
function idleToolFields(request: ChatRequest, tools: ToolRequest | null): string[] {
  return tools === null ? Object.keys(toolFields).filter(name => (request[name] ?? null) !== null) : [];
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

/** The ids of the rendered conversation; the last `keep` of them, or all. Rejects with HttpError 400. */
export async function encodeMessages(
  app: AppContext,
  { messages, template, addSpecialTokens }: Pick<ChatPlan, 'messages' | 'template' | 'addSpecialTokens'>,
  keep: number | null,
): Promise<number[]> {
  const { tokenizer } = app;
  if (!tokenizer.hasChatTemplate) {
    throw invalidField('messages', 'This model has no chat template: use /v1/completions.', 'no_chat_template');
  }
  const encode = async (maxTokens: number) => {
    const rendered = await tokenizer.encodeChat(messages, { ...template, maxTokens });
    if (!addSpecialTokens) return rendered;
    // Those of an empty prompt: in front, and behind where there are two.
    const [begin, end] = await tokenizer.encode('', { addSpecialTokens });
    return [begin ?? [], rendered, end ?? []].flat();
  };
  return tokenise(app, 'messages', keep, encode);
}
