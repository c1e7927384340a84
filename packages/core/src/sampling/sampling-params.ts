/** What a caller may ask of sampling. Names are vLLM's in camelCase; ranges and meaning are vLLM's unless said otherwise. */
export interface SamplingParams {
  n?: number;
  presencePenalty?: number;
  frequencyPenalty?: number;
  repetitionPenalty?: number;
  temperature?: number;
  topP?: number;
  topK?: number;
  minP?: number;
  seed?: number | bigint | null;
  maxTokens?: number | null;
  minTokens?: number;
  logprobs?: number | null;
  promptLogprobs?: number | null;
  stop?: string | readonly string[];
  stopTokenIds?: readonly number[];
  includeStopStrInOutput?: boolean;
  ignoreEos?: boolean;
  skipSpecialTokens?: boolean;
  detokenize?: boolean;
  logitBias?: Readonly<Record<string, number>> | null;
}
