import type { FinishReason, RequestMetrics } from './outputs.ts';
import type { StepTrace } from './step-trace.ts';

/** State and counters of an engine since its start. Tokens unless a name says otherwise. */
export interface EngineStats {
  numRequestsRunning: number;
  numRequestsWaiting: number;
  /** Rows that requests will take at once, those that wait first: none where blocks are what is missing. */
  numPlaces: number;
  /** Names of the adapters that running and waiting requests ask for. */
  runningAdapters: readonly string[];
  waitingAdapters: readonly string[];
  /** Share of the KV blocks that requests hold, 0 to 1. */
  kvCacheUsage: number;
  numPreemptions: number;
  /** Prompt tokens looked up in the prefix cache, and found there. */
  prefixCacheQueries: number;
  prefixCacheHits: number;
  /** Tokens that were guessed ahead by speculation, and those of them that were right. */
  draftTokens: number;
  acceptedTokens: number;
  /** How often guesses were checked, and how often the first, the second ... of them was right. */
  numDrafts: number;
  acceptedPerPosition: readonly number[];
  /** Failed steps and lost devices that were survived. */
  numRecoveries: number;
  /** Bytes of KV blocks moved to host memory and back. */
  hostTierBytes: { toHost: number; toDevice: number };
  /** Prompt tokens of requests that ran, cached ones included. */
  promptTokens: number;
  /** Those of them that the prefix cache had when their request first ran. */
  cachedPromptTokens: number;
  generationTokens: number;
  /** Submits whose results were read; a repeated step counts once. */
  numSteps: number;
  /** Milliseconds on the engine's clock when it last finished a step or had nothing to do: for health checks. */
  lastProgress: number;
  finished: Record<FinishReason, number>;
}

/** One submit whose result was read. */
export interface StepReport {
  numSequences: number;
  /** Tokens computed in one repeat. */
  numTokens: number;
  numPromptTokens: number;
  /** Tokens that requests gained. */
  numGenerationTokens: number;
  times: number;
  /** From submit until the result was processed. */
  milliseconds: number;
  /** Of requests that got their first token. Milliseconds. */
  timeToFirstToken: readonly number[];
  /** Time since the step before that gave the sequence tokens, divided by the tokens of this one. Milliseconds. */
  interTokenLatency: readonly number[];
}

/** One request that ended, all its completions together. */
export interface FinishedRequest {
  requestId: string;
  numPromptTokens: number;
  numCachedTokens: number;
  /** Of all completions together, and of the longest. */
  numGenerationTokens: number;
  maxNumGenerationTokens: number;
  n: number;
  maxTokens: number;
  temperature: number;
  topP: number;
  /** Of the first completion. */
  finishReason: FinishReason;
  metrics: RequestMetrics;
}

/** Told what the engine does, for metrics. Must not throw; called on the engine's path. */
export interface EngineObserver {
  onStep?(report: StepReport): void;
  onRequestFinished?(request: FinishedRequest): void;
  /** Whether a trace is wanted of the step that was just read; asked after each. Default true. */
  readonly wantsTrace?: boolean;
  /** All that the engine holds, after every step. Costs a copy of the pool: for views, not for metrics. */
  onTrace?(trace: StepTrace): void;
}
