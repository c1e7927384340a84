import type { GrammarSpec, StructuredOutputs } from '../structured-output/structured-outputs.ts';

/**
 * What a caller may ask of sampling. Names are vLLM's in camelCase (snake_case is accepted too); ranges and meaning are
 * vLLM's unless said otherwise. Fields left out take the model's generation_config.json, then the defaults given here.
 */
export interface SamplingParams {
  /** Completions of one prompt, 1 to 128. Default 1; must be 1 when greedy. */
  n?: number;
  /** Completions that are computed, n to 128, of which the best n are returned; with beam search, the width. Default n. */
  bestOf?: number | null;
  /** [-2, 2], on output tokens. Default 0. */
  presencePenalty?: number;
  /** [-2, 2], on output tokens. Default 0. */
  frequencyPenalty?: number;
  /** Above 0, on prompt and output tokens. Default 1. */
  repetitionPenalty?: number;
  /** [0, 2]. Below 1e-5 is greedy, which turns topP, topK and minP off; other values below 0.01 become 0.01. Default 1. */
  temperature?: number;
  /** (0, 1]. Default 1. */
  topP?: number;
  /** 0 or -1: off. Default 0. */
  topK?: number;
  /** [0, 1], relative to the largest probability, before topK and topP. Default 0. */
  minP?: number;
  /** A signed 64-bit integer. null: derived from the engine's seed and the number of the request. */
  seed?: number | bigint | null;
  /** Beam search of width bestOf, which must be above 1, with a temperature of 0. Default false. */
  useBeamSearch?: boolean;
  /** Exponent of the length by which beams are compared. Default 1; only with beam search. */
  lengthPenalty?: number;
  /** When beam search may end before all beams have: see vLLM 0.2. Default false; only with beam search. */
  earlyStopping?: boolean | 'never';
  /** Default 16. null: what is left of the context, or of the model's max_new_tokens. */
  maxTokens?: number | null;
  /** Tokens before EOS, stop token ids and stop strings count. Default 0. */
  minTokens?: number;
  /** Most likely tokens listed beside the sampled one; -1: the whole vocabulary, where the engine allows it; true: 1. */
  logprobs?: number | boolean | null;
  /** The same for each token of the prompt but the first. Such a request does not read the prefix cache. */
  promptLogprobs?: number | boolean | null;
  /** Log-probabilities of exactly these ids (at most 128) beside the sampled one, instead of the most likely. */
  logprobTokenIds?: readonly number[] | null;
  stop?: string | readonly string[] | null;
  stopTokenIds?: readonly number[] | null;
  includeStopStrInOutput?: boolean;
  /** EOS does not stop the request; it still counts as a stop token for minTokens. */
  ignoreEos?: boolean;
  skipSpecialTokens?: boolean;
  /** With skipSpecialTokens false: special tokens are set apart by spaces where the tokenizer's decoder does so. Default true. */
  spacesBetweenSpecialTokens?: boolean;
  /** false: token ids only, no text and no stop strings. */
  detokenize?: boolean;
  /** Token id -> number added to its logit, clamped to [-100, 100]. */
  logitBias?: Readonly<Record<string, number>> | null;
  /** The only ids that may be sampled. */
  allowedTokenIds?: readonly number[] | null;
  /** Words that the output may not contain: the last token of each, with and without a space before it, is banned where it would be completed. */
  badWords?: readonly string[] | null;
  /** How long the model may reason. Not with beam search. */
  thinkingTokenBudget?: ThinkingBudget | null;
  /** What the text must be. Not with beam search. */
  structuredOutputs?: StructuredOutputs | null;
  /** Functions that change the logits of this request between model and sampler, in order. Not with beam search. */
  logitsProcessors?: readonly LogitsProcessor[] | null;
  /** Lower is earlier, where the engine schedules by priority. Default 0. */
  priority?: number;
  /** Requests under different salts share no cached prefix. */
  cacheSalt?: string | null;
  /** Keeps only the last tokens of the prompt: this many; -1: as many as the context holds beside maxTokens. */
  truncatePromptTokens?: number | null;
}

/** Tokens that a reasoning may have before the token that ends it is forced. */
export interface ThinkingBudget {
  /** At least 0; markers do not count. */
  readonly tokens: number;
  /** What begins the reasoning, where it is one token. */
  readonly beginTokenId: number | null;
  readonly endTokenId: number;
  /** The output begins within the reasoning: the prompt has opened it. */
  readonly isOpen: boolean;
}

/** What a logits processor may know of its request. */
export interface LogitsContext {
  readonly promptTokenIds: readonly number[];
  /** Sampled so far. */
  readonly outputTokenIds: readonly number[];
}

/**
 * Changes the model's logits f32 [vocabSize] of one position in place, before biases, penalties and sampling. -Infinity bans a
 * token. An exception, NaN or +Infinity ends the request with an error, and no other request.
 */
export type LogitsProcessor = (context: LogitsContext, logits: Float32Array) => void;

/** Sampling parameters after defaults, ranges and the model's limits: nothing is left to decide but an absent seed. */
export interface ResolvedSamplingParams {
  readonly n: number;
  /** At least n. The width of the beam with useBeamSearch. */
  readonly bestOf: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  readonly repetitionPenalty: number;
  /** 0: greedy. */
  readonly temperature: number;
  readonly topP: number;
  /** 0: off. */
  readonly topK: number;
  readonly minP: number;
  /** As an unsigned 64-bit pattern, or null. */
  readonly seed: bigint | null;
  readonly useBeamSearch: boolean;
  readonly lengthPenalty: number;
  readonly earlyStopping: boolean | 'never';
  /** At least 1, and never more than the context has room for. */
  readonly maxTokens: number;
  readonly minTokens: number;
  readonly logprobs: number | null;
  readonly promptLogprobs: number | null;
  /** null: the most likely ones are listed. */
  readonly logprobTokenIds: readonly number[] | null;
  readonly stop: readonly string[];
  readonly stopTokenIds: ReadonlySet<number>;
  readonly includeStopStrInOutput: boolean;
  readonly ignoreEos: boolean;
  readonly skipSpecialTokens: boolean;
  readonly spacesBetweenSpecialTokens: boolean;
  readonly detokenize: boolean;
  readonly logitBias: readonly (readonly [number, number])[];
  readonly allowedTokenIds: readonly number[] | null;
  /** Token sequences whose last token is banned after the others. */
  readonly badWords: readonly (readonly number[])[];
  readonly thinkingTokenBudget: ThinkingBudget | null;
  readonly structuredOutputs: GrammarSpec | null;
  readonly logitsProcessors: readonly LogitsProcessor[];
  readonly priority: number;
  readonly cacheSalt: string | null;
}
