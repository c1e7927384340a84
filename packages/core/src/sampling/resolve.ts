import { InvalidRequestError } from '../errors.ts';
import type { GenerationConfig } from '../models/config.ts';
import {
  checkBoolean,
  checkInteger,
  checkLogitBias,
  checkNumber,
  checkSeed,
  checkStop,
  checkStopTokenIds,
  fail,
  readParams,
} from './checks.ts';
import type { ResolvedSamplingParams, SamplingParams } from './sampling-params.ts';

/** Most completions of one request: a bound on the work that a single request can ask for. */
export const MAX_N = 128;
/** Temperatures below this are greedy. */
const GREEDY_BELOW = 1e-5;
/** The smallest temperature of random sampling: below it, scaled logits leave the range of f32 arithmetic. */
const MIN_TEMPERATURE = 0.01;
const DEFAULT_MAX_TOKENS = 16;

/** What a request is checked against. ExecutorLimits has these fields. */
export interface SamplingLimits {
  readonly maxModelLen: number;
  /** Width of the logits. */
  readonly vocabSize: number;
  /** -1: as many as the vocabulary holds. */
  readonly maxLogprobs: number;
  /** Stop ids plus two per logit bias that a row can hold. */
  readonly maxBiasWords: number;
}

export interface ResolveContext {
  readonly limits: SamplingLimits;
  readonly generationConfig: GenerationConfig | null;
  /** Ids that end a request unless it ignores EOS. */
  readonly eosTokenIds: readonly number[];
  /** Whether text can be made of ids. */
  readonly hasTokenizer: boolean;
  /** Length of the prompt, below maxModelLen. */
  readonly promptTokens: number;
}

/**
 * Applies defaults (generation_config.json, then vLLM's), then checks ranges against the model, so that no combination of
 * absent fields escapes a check. Throws InvalidRequestError with `param` in vLLM's spelling.
 */
export function resolveSamplingParams(input: SamplingParams, context: ResolveContext): ResolvedSamplingParams {
  const given = readParams(input);
  const { limits } = context;
  const lengths = resolveLengths(given, context);
  const randomness = resolveRandomness(given, context);
  const stops = resolveStops(given, context);
  const logitBias = take(given, 'logitBias', null, value => checkLogitBias(value, limits.vocabSize));
  checkBiasWords(logitBias.length, lengths.minTokens, stops, context);
  return Object.freeze({
    ...lengths,
    ...randomness,
    ...stops,
    logitBias,
    presencePenalty: take(given, 'presencePenalty', 0, penalty),
    frequencyPenalty: take(given, 'frequencyPenalty', 0, penalty),
    repetitionPenalty: take(given, 'repetitionPenalty', context.generationConfig?.repetitionPenalty ?? 1, repetition),
    seed: take(given, 'seed', null, checkSeed),
    logprobs: take(given, 'logprobs', null, (value, name) => logprobs(value, name, limits)),
    promptLogprobs: take(given, 'promptLogprobs', null, (value, name) => logprobs(value, name, limits)),
    skipSpecialTokens: take(given, 'skipSpecialTokens', true, boolean),
  });
}

/** The checked value, or the checked default: a default of generation_config.json is checked like a caller's. */
function take<T>(
  given: Map<string, unknown>,
  name: string,
  fallback: unknown,
  check: (value: unknown, name: string) => T,
): T {
  const value = given.get(name);
  return check(value === undefined ? fallback : value, name);
}

type Lengths = Pick<ResolvedSamplingParams, 'maxTokens' | 'minTokens'>;

function resolveLengths(given: Map<string, unknown>, context: ResolveContext): Lengths {
  const room = context.limits.maxModelLen - context.promptTokens;
  const asked = given.get('maxTokens');
  const open = Math.min(room, context.generationConfig?.maxNewTokens ?? room);
  const absent = asked === undefined ? Math.min(DEFAULT_MAX_TOKENS, open) : open;
  const maxTokens =
    asked === undefined || asked === null
      ? absent
      : Math.min(
          room,
          checkInteger('maxTokens', asked, 'at least 1', value => value >= 1),
        );
  const minTokens = take(given, 'minTokens', 0, value =>
    checkInteger('minTokens', value, 'greater than or equal to 0', tokens => tokens >= 0),
  );
  if (minTokens > maxTokens) {
    fail(
      'minTokens',
      `must be less than or equal to the ${maxTokens} tokens that max_tokens and the context allow, got ${minTokens}`,
    );
  }
  return { maxTokens, minTokens };
}

type Randomness = Pick<ResolvedSamplingParams, 'n' | 'temperature' | 'topP' | 'topK' | 'minP'>;

function resolveRandomness(given: Map<string, unknown>, context: ResolveContext): Randomness {
  const defaults = context.generationConfig;
  const asked = take(given, 'temperature', defaults?.temperature ?? 1, temperature);
  const topP = take(given, 'topP', defaults?.topP ?? 1, (value, name) =>
    checkNumber(name, value, 'in (0, 1]', p => p > 0 && p <= 1),
  );
  const topK = take(given, 'topK', defaults?.topK ?? 0, (value, name) =>
    checkInteger(name, value, '0 or -1 (off), or at least 1', k => k >= -1),
  );
  const minP = take(given, 'minP', defaults?.minP ?? 0, (value, name) =>
    checkNumber(name, value, 'in [0, 1]', p => p >= 0 && p <= 1),
  );
  const n = take(given, 'n', 1, (value, name) =>
    checkInteger(name, value, `at least 1 and at most ${MAX_N}`, count => count >= 1 && count <= MAX_N),
  );
  if (asked < GREEDY_BELOW) {
    if (n > 1) fail('n', `must be 1 when using greedy sampling, got ${n}`);
    return { n, temperature: 0, topP: 1, topK: 0, minP: 0 };
  }
  const isOff = topK < 1 || topK >= context.limits.vocabSize;
  return { n, temperature: Math.max(asked, MIN_TEMPERATURE), topP, topK: isOff ? 0 : topK, minP };
}

type Stops = Pick<
  ResolvedSamplingParams,
  'stop' | 'stopTokenIds' | 'includeStopStrInOutput' | 'ignoreEos' | 'detokenize'
>;

function resolveStops(given: Map<string, unknown>, context: ResolveContext): Stops {
  const detokenize = take(given, 'detokenize', context.hasTokenizer, boolean);
  const stop = take(given, 'stop', [], checkStop);
  if (detokenize && !context.hasTokenizer) fail('detokenize', 'must be false: this engine has no tokenizer');
  if (stop.length > 0 && !detokenize) fail('stop', 'strings are only supported when detokenize is true');
  return {
    detokenize,
    stop,
    stopTokenIds: take(given, 'stopTokenIds', [], value => checkStopTokenIds(value, context.limits.vocabSize)),
    includeStopStrInOutput: take(given, 'includeStopStrInOutput', false, boolean),
    ignoreEos: take(given, 'ignoreEos', false, boolean),
  };
}

/** Stop ids take room in a row only when they must be masked. */
function checkBiasWords(biases: number, minTokens: number, stops: Stops, context: ResolveContext): void {
  const stopIds = minTokens > 0 ? stopIdsOf(stops, context.eosTokenIds).length : 0;
  const { maxBiasWords } = context.limits;
  const words = stopIds + 2 * biases;
  if (words <= maxBiasWords) return;
  const name = biases > 0 ? 'logitBias' : 'stopTokenIds';
  fail(name, `is too long: ${stopIds} stop ids and ${biases} biases need ${words} words, a row holds ${maxBiasWords}`);
}

/** All ids that end a request: EOS (also when it is ignored) and the request's own. */
export function stopIdsOf(
  params: Pick<ResolvedSamplingParams, 'stopTokenIds'>,
  eosTokenIds: readonly number[],
): readonly number[] {
  return [...new Set([...eosTokenIds, ...params.stopTokenIds])];
}

function penalty(value: unknown, name: string): number {
  return checkNumber(name, value, 'in [-2, 2]', p => p >= -2 && p <= 2);
}

function repetition(value: unknown, name: string): number {
  return checkNumber(name, value, 'greater than zero', p => p > 0);
}

function temperature(value: unknown, name: string): number {
  return checkNumber(name, value, 'in [0, 2]', t => t >= 0 && t <= 2);
}

function boolean(value: unknown, name: string): boolean {
  return checkBoolean(name, value);
}

function logprobs(value: unknown, name: string, limits: SamplingLimits): number | null {
  if (value === null) return null;
  const asked = checkInteger(name, value, 'non-negative or -1', count => count >= -1);
  const count = asked === -1 ? limits.vocabSize : asked;
  const allowed = limits.maxLogprobs === -1 ? limits.vocabSize : limits.maxLogprobs;
  if (count > allowed) {
    fail(name, `asks for ${asked === -1 ? 'all' : asked} tokens, this engine allows ${allowed} (max_logprobs)`);
  }
  return count;
}

/** Throws InvalidRequestError unless every id lies inside the logits and a token can follow the prompt. */
export function checkPrompt(
  tokenIds: ArrayLike<number>,
  limits: Pick<SamplingLimits, 'maxModelLen' | 'vocabSize'>,
): void {
  const { length } = tokenIds;
  if (length === 0) throw new InvalidRequestError('The prompt is empty. Give at least one token.', 'prompt');
  if (length >= limits.maxModelLen) {
    throw new InvalidRequestError(
      `The prompt has ${length} tokens; the context is ${limits.maxModelLen} tokens, one of them for output. Shorten the prompt.`,
      'prompt',
      'context_length_exceeded',
    );
  }
  for (let i = 0; i < length; i++) {
    const id = tokenIds[i]!;
    if (Number.isInteger(id) && id >= 0 && id < limits.vocabSize) continue;
    throw new InvalidRequestError(`prompt token ${i} must be in [0, ${limits.vocabSize}), got ${id}.`, 'prompt');
  }
}
