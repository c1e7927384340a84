/**
 * What a caller may ask of sampling. Names are vLLM's in camelCase (snake_case is accepted too); ranges and meaning are
 * vLLM's unless said otherwise. Fields left out take the model's generation_config.json, then the defaults given here.
 */
export interface SamplingParams {
  /** Completions of one prompt, 1 to 128. Default 1; must be 1 when greedy. */
  n?: number;
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
  /** Default 16. null: what is left of the context, or of the model's max_new_tokens. */
  maxTokens?: number | null;
  /** Tokens before EOS, stop token ids and stop strings count. Default 0. */
  minTokens?: number;
  /** Most likely tokens listed beside the sampled one; -1: the whole vocabulary, where the engine allows it. */
  logprobs?: number | null;
  /** The same for each token of the prompt but the first. Such a request does not read the prefix cache. */
  promptLogprobs?: number | null;
  stop?: string | readonly string[] | null;
  stopTokenIds?: readonly number[] | null;
  includeStopStrInOutput?: boolean;
  /** EOS does not stop the request; it still counts as a stop token for minTokens. */
  ignoreEos?: boolean;
  skipSpecialTokens?: boolean;
  /** false: token ids only, no text and no stop strings. */
  detokenize?: boolean;
  /** Token id -> number added to its logit, clamped to [-100, 100]. */
  logitBias?: Readonly<Record<string, number>> | null;
}

/** Sampling parameters after defaults, ranges and the model's limits: nothing is left to decide but an absent seed. */
export interface ResolvedSamplingParams {
  readonly n: number;
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
  /** At least 1, and never more than the context has room for. */
  readonly maxTokens: number;
  readonly minTokens: number;
  readonly logprobs: number | null;
  readonly promptLogprobs: number | null;
  readonly stop: readonly string[];
  readonly stopTokenIds: ReadonlySet<number>;
  readonly includeStopStrInOutput: boolean;
  readonly ignoreEos: boolean;
  readonly skipSpecialTokens: boolean;
  readonly detokenize: boolean;
  readonly logitBias: readonly (readonly [number, number])[];
}
