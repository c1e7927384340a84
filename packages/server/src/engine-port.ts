import type { RequestOutput, SamplingParams, Tokenizer } from '@quire/core';

export interface ServingEngine {
  readonly tokenizer: Tokenizer;
  readonly healthy: boolean;
  readonly limits: { maxModelLen: number; maxLogprobs: number; maxNumSeqs: number; blockSize: number; numBlocks: number };
  generate(
    prompt: { prompt: string | null; promptTokenIds: number[] },
    params: SamplingParams,
    options: { signal: AbortSignal; requestId: string },
  ): AsyncIterable<RequestOutput>;
  stats(): EngineStats;
  dispose(): Promise<void>;
}

export interface EngineStats {
  numRequestsRunning: number;
  numRequestsWaiting: number;
  kvCacheUsage: number;
  prefixCacheQueries: number;
  prefixCacheHits: number;
  numPreemptions: number;
  promptTokens: number;
  generationTokens: number;
}
