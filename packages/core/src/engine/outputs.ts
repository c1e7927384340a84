import type { PositionLogprobs, TokenLogprob } from '../worker/types.ts';

/** What a request yields. */

export type FinishReason = 'stop' | 'length' | 'abort' | 'error';

/** Why a sequence ended. */
export interface SequenceEnd {
  reason: FinishReason;
  stopReason: string | number | null;
}

export type { PositionLogprobs, TokenLogprob };

export interface CompletionOutput {
  index: number;
  text: string;
  tokenIds: number[];
  cumulativeLogprob: number | null;
  logprobs: PositionLogprobs[] | null;
  finishReason: FinishReason | null;
  /** The stop string or stop token id that ended it; null for EOS and other reasons. */
  stopReason: string | number | null;
}

export interface RequestOutput {
  requestId: string;
  prompt: string | null;
  /** Shared by all outputs of the request. */
  promptTokenIds: readonly number[];
  /** null for the first prompt token. */
  promptLogprobs: readonly (PositionLogprobs | null)[] | null;
  outputs: CompletionOutput[];
  finished: boolean;
  numCachedTokens: number;
  metrics: RequestMetrics;
  /** f32 [width] of a model that makes embeddings, before it is cut and normalised; null before, and for other models. */
  pooled: Float32Array | null;
  /** Set with finishReason 'error'. */
  error: Error | null;
}

/** Milliseconds on a monotonic clock; null until it happened. */
export interface RequestMetrics {
  arrival: number;
  firstScheduled: number | null;
  firstToken: number | null;
  finished: number | null;
}
