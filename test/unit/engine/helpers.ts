import {
  type EngineObserver,
  LLMEngine,
  type LLMEngineConfig,
  type LLMEngineOptions,
  parseEngineConfig,
  type SamplingParams,
} from '@quire/core';
import { SymbolicExecutor, type SymbolicOptions, symbolicLimits } from '../../support/symbolic-executor.ts';
import { fakeLogprob, NAN_TOKEN, nextToken, oracleStates } from '../../support/symbolic-model.ts';

export const EOS = 31;

/** Distinct tokens below the special ones. */
export function prompt(length: number, first = 1): number[] {
  return Array.from({ length }, (_, i) => (first + i * 7) % 29);
}

export function tokensOf(group: ReturnType<LLMEngine['add']>, index = 0): number[] {
  return group.sequences[index]!.request.outputTokens();
}

export interface TestEngineOptions {
  limits?: Partial<typeof symbolicLimits>;
  config?: Partial<LLMEngineConfig>;
  executor?: Partial<SymbolicOptions>;
  hash?: (prefix: number, tokens: Uint32Array, start: number, length: number) => number;
  observer?: EngineObserver;
  loadAdapter?: LLMEngineOptions['loadAdapter'];
}

export function engineOptions(options: TestEngineOptions = {}) {
  const limits = { ...symbolicLimits, ...options.limits };
  const executor = new SymbolicExecutor({ ...options.executor, limits });
  return {
    executor,
    reopen: async () => new SymbolicExecutor({ ...options.executor, limits }),
    config: { ...parseEngineConfig({}), ...options.config },
    tokenizer: null,
    eosTokenIds: [EOS],
    ...(options.observer ? { observer: options.observer } : {}),
    ...(options.hash ? { prefixHash: options.hash } : {}),
    ...(options.loadAdapter ? { loadAdapter: options.loadAdapter } : {}),
  };
}

export function testEngine(options: TestEngineOptions = {}): { engine: LLMEngine; executor: SymbolicExecutor } {
  const all = engineOptions(options);
  return { engine: new LLMEngine(all), executor: all.executor };
}

export async function drain(engine: LLMEngine, maxSteps = 10_000): Promise<number> {
  let steps = 0;
  while (engine.hasUnfinished) {
    if (steps++ > maxSteps) throw new Error('The engine does not finish.');
    await engine.step();
  }
  return steps;
}

export interface Expected {
  tokenIds: number[];
  finishReason: 'stop' | 'length' | 'error';
  stopReason: number | null;
  cumulativeLogprob: number;
}

export interface OracleLimits {
  maxModelLen: number;
  vocabSize: number;
}

/** What a request must give, worked out alone on a token list: no blocks, no rows, no steps. */
export function expectedOutput(
  prompt: readonly number[],
  params: SamplingParams,
  seed: bigint,
  limits: OracleLimits,
): Expected {
  const tokens = [...prompt];
  const minTokens = params.minTokens ?? 0;
  const stops = new Set(params.stopTokenIds ?? []);
  const limit = Math.min(prompt.length + (params.maxTokens ?? 16), limits.maxModelLen);
  const sampling = {
    temperature: params.temperature ?? 1,
    topK: params.topK ?? 0,
    seed,
    minTokensUntil: prompt.length + minTokens,
    stopTokenIds: minTokens > 0 ? [EOS, ...stops] : [],
    logitBias: Object.entries(params.logitBias ?? {}).map(([id, bias]) => [Number(id), bias] as const),
  };
  let cumulativeLogprob = 0;
  const done = (finishReason: Expected['finishReason'], stopReason: number | null = null): Expected => {
    return { tokenIds: tokens.slice(prompt.length), finishReason, stopReason, cumulativeLogprob };
  };
  while (true) {
    const state = oracleStates(tokens).at(-1)!;
    if (tokens.includes(NAN_TOKEN)) return done('error');
    const token = nextToken(state, tokens.length, sampling, limits.vocabSize);
    tokens.push(token);
    cumulativeLogprob += fakeLogprob(state, 0);
    const isFree = tokens.length - prompt.length > minTokens;
    if (isFree && token === EOS && !params.ignoreEos) return done('stop');
    if (isFree && stops.has(token)) return done('stop', token);
    if (tokens.length >= limit) return done('length');
  }
}
