import type { GenerationConfig } from '../models/config.ts';
import { resolveSamplingParams } from '../sampling/resolve.ts';
import type { ResolvedSamplingParams, SamplingParams } from '../sampling/sampling-params.ts';
import { truncatedLength } from '../sampling/truncation.ts';
import type { Tokenizer } from '../tokenizer/types.ts';
import type { ExecutorLimits } from '../worker/types.ts';
import { checkFits } from './check-fits.ts';
import { checkPriority, type SchedulingPolicy } from './priority.ts';
import { type Prompt, type PromptInput, resolvePrompt } from './prompt.ts';

/** A request that was checked against an engine: nothing is left to decide but an absent seed. */
export interface ResolvedRequest {
  readonly prompt: Prompt;
  readonly params: ResolvedSamplingParams;
}

/** What a request is checked against. */
export interface RequestContext {
  readonly limits: ExecutorLimits;
  /** null: prompts are token ids only. */
  readonly tokenizer: Tokenizer | null;
  readonly generationConfig: GenerationConfig | null;
  readonly eosTokenIds: readonly number[];
  readonly schedulingPolicy?: SchedulingPolicy | undefined;
}

/** Tokenises the prompt, applies defaults and checks everything. Throws InvalidRequestError for what cannot be served as asked. */
export function resolveRequest(input: PromptInput, params: SamplingParams, context: RequestContext): ResolvedRequest {
  const { limits, tokenizer, generationConfig, eosTokenIds } = context;
  const prompt = resolvePrompt(input, tokenizer, limits, truncatedLength(params, limits));
  const promptTokens = prompt.tokenIds.length;
  const encodeWord =
    tokenizer && ((text: string) => tokenizer.encode(text, { addSpecialTokens: false, parseSpecialTokens: false }));
  // Nothing is sampled where requests are pooled: what is left of the parameters is their place in the queue and the cache.
  const pools = (limits.pooling ?? null) !== null;
  const asked = pools ? { ...params, maxTokens: 1, temperature: 0, detokenize: false } : params;
  const room = pools ? { ...limits, maxModelLen: limits.maxModelLen + 1 } : limits;
  const rules = { limits: room, generationConfig, eosTokenIds, encodeWord, promptTokens };
  const resolved = resolveSamplingParams(asked, rules);
  checkFits(limits, promptTokens, resolved.maxTokens);
  checkPriority(resolved.priority, context.schedulingPolicy);
  return { prompt, params: resolved };
}
