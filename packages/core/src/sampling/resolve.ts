import { InvalidRequestError } from '../errors.ts';
import type { GenerationConfig } from '../models/config.ts';
import { checkStructuredOutputs } from '../structured-output/structured-outputs.ts';
import {
  checkCacheSalt,
  checkInteger,
  checkLogitsProcessors,
  checkNumber,
  checkSeed,
  checkStop,
  fail,
  readParams,
} from './checks.ts';
import { boolean, type Given, take } from './given.ts';
import { type Randomness, resolveRandomness } from './randomness.ts';
import type { ResolvedSamplingParams, SamplingParams } from './sampling-params.ts';
import {
  checkAllowedTokenIds,
  checkBadWords,
  checkLogitBias,
  checkLogprobTokenIds,
  checkStopTokenIds,
  checkThinkingBudget,
  type EncodeWord,
} from './token-checks.ts';

const DEFAULT_MAX_TOKENS = 16;

/** What a request is checked against. ExecutorLimits has these fields. */
export interface SamplingLimits {
  readonly maxModelLen: number;
  /** Not null: no token follows the prompt, which may fill the context. */
  readonly pooling?: object | null | undefined;
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
  /** Makes ids of a text, nothing added around it; null: this engine has no tokenizer. */
  readonly encodeWord: EncodeWord | null;
  /** Length of the prompt, below maxModelLen. */
  readonly promptTokens: number;
}

/**
 * Applies defaults (generation_config.json, then vLLM's), then checks ranges against the model, so that no combination of
 * absent fields escapes a check. Throws InvalidRequestError with `param` in vLLM's spelling.
 */
export function resolveSamplingParams(input: SamplingParams, context: ResolveContext): ResolvedSamplingParams {
  const given = readParams(input);
  const lengths = resolveLengths(given, context);
  const randomness = resolveRandomness(given, context);
  const stops = resolveStops(given, context);
  const logprobs = resolveLogprobs(given, context.limits);
  const logits = resolveLogits(given, context, randomness.useBeamSearch);
  checkBiasWords(logits.logitBias.length, lengths.minTokens, stops, context);
  checkBeamSearch(randomness, stops, logits, logprobs);
  // Field by field: spreading objects into one takes ten times as long, which each request would pay.
  const { maxTokens, minTokens } = lengths;
  const { n, bestOf, temperature, topP, topK, minP, useBeamSearch, lengthPenalty, earlyStopping } = randomness;
  const { stop, stopTokenIds, includeStopStrInOutput, ignoreEos, detokenize } = stops;
  const { presencePenalty, frequencyPenalty, repetitionPenalty, logitBias, allowedTokenIds, badWords } = logits;
  const { thinkingTokenBudget, structuredOutputs, logitsProcessors } = logits;
  return Object.freeze({
    maxTokens,
    minTokens,
    n,
    bestOf,
    temperature,
    topP,
    topK,
    minP,
    useBeamSearch,
    lengthPenalty,
    earlyStopping,
    stop,
    stopTokenIds,
    includeStopStrInOutput,
    ignoreEos,
    detokenize,
    presencePenalty,
    frequencyPenalty,
    repetitionPenalty,
    logitBias,
    allowedTokenIds,
    badWords,
    thinkingTokenBudget,
    structuredOutputs,
    logitsProcessors,
    logprobs: logprobs.logprobs,
    promptLogprobs: logprobs.promptLogprobs,
    logprobTokenIds: logprobs.logprobTokenIds,
    seed: take(given, 'seed', null, checkSeed),
    skipSpecialTokens: take(given, 'skipSpecialTokens', true, boolean),
    spacesBetweenSpecialTokens: take(given, 'spacesBetweenSpecialTokens', true, boolean),
    priority: take(given, 'priority', 0, (value, name) =>
      checkInteger(name, value, 'an integer below 2^53', Number.isSafeInteger),
    ),
    cacheSalt: take(given, 'cacheSalt', null, checkCacheSalt),
  });
}

type Lengths = Pick<ResolvedSamplingParams, 'maxTokens' | 'minTokens'>;

function resolveLengths(given: Given, context: ResolveContext): Lengths {
  const room = context.limits.maxModelLen - context.promptTokens;
  const asked = given.get('maxTokens');
  const open = Math.min(room, context.generationConfig?.maxNewTokens ?? room);
  const absent = asked === undefined ? Math.min(DEFAULT_MAX_TOKENS, open) : open;
  const maxTokens = asked === undefined || asked === null ? absent : Math.min(room, checkMaxTokens(asked));
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

function checkMaxTokens(value: unknown): number {
  return checkInteger('maxTokens', value, 'at least 1', tokens => tokens >= 1);
}

type Stops = Pick<
  ResolvedSamplingParams,
  'stop' | 'stopTokenIds' | 'includeStopStrInOutput' | 'ignoreEos' | 'detokenize'
>;

function resolveStops(given: Given, context: ResolveContext): Stops {
  const hasTokenizer = context.encodeWord !== null;
  const detokenize = take(given, 'detokenize', hasTokenizer, boolean);
  const stop = take(given, 'stop', [], checkStop);
  if (detokenize && !hasTokenizer) fail('detokenize', 'must be false: this engine has no tokenizer');
  if (stop.length > 0 && !detokenize) fail('stop', 'strings are only supported when detokenize is true');
  return {
    detokenize,
    stop,
    stopTokenIds: take(given, 'stopTokenIds', [], value => checkStopTokenIds(value, context.limits.vocabSize)),
    includeStopStrInOutput: take(given, 'includeStopStrInOutput', false, boolean),
    ignoreEos: take(given, 'ignoreEos', false, boolean),
  };
}

type Logits = Pick<
  ResolvedSamplingParams,
  | 'presencePenalty'
  | 'frequencyPenalty'
  | 'repetitionPenalty'
  | 'logitBias'
  | 'allowedTokenIds'
  | 'badWords'
  | 'thinkingTokenBudget'
  | 'structuredOutputs'
  | 'logitsProcessors'
>;

function resolveLogits(given: Given, context: ResolveContext, isBeamSearch: boolean): Logits {
  const { encodeWord, generationConfig } = context;
  const { vocabSize } = context.limits;
  const defaultRepetition = isBeamSearch ? 1 : (generationConfig?.repetitionPenalty ?? 1);
  const structuredOutputs = take(given, 'structuredOutputs', null, checkStructuredOutputs);
  if (structuredOutputs !== null && encodeWord === null) {
    fail('structuredOutputs', 'need a tokenizer: this engine has none');
  }
  return {
    presencePenalty: take(given, 'presencePenalty', 0, penalty),
    frequencyPenalty: take(given, 'frequencyPenalty', 0, penalty),
    repetitionPenalty: take(given, 'repetitionPenalty', defaultRepetition, repetition),
    logitBias: take(given, 'logitBias', null, value => checkLogitBias(value, vocabSize)),
    allowedTokenIds: take(given, 'allowedTokenIds', null, value => checkAllowedTokenIds(value, vocabSize)),
    badWords: take(given, 'badWords', null, value => checkBadWords(value, encodeWord, vocabSize)),
    thinkingTokenBudget: take(given, 'thinkingTokenBudget', null, value => checkThinkingBudget(value, vocabSize)),
    structuredOutputs,
    logitsProcessors: take(given, 'logitsProcessors', null, checkLogitsProcessors),
  };
}

/**
 * Beams fork from step to step, and what the host keeps for each token of a sequence does not fork with them. They are chosen
 * by the model's own log-probabilities, so whatever would change those is refused too.
 */
function checkBeamSearch({ useBeamSearch }: Randomness, { stop }: Stops, logits: Logits, logprobs: Logprobs): void {
  if (!useBeamSearch) return;
  const { presencePenalty, frequencyPenalty, repetitionPenalty } = logits;
  if (logits.structuredOutputs !== null) fail('structuredOutputs', 'cannot be used with use_beam_search');
  if (logits.thinkingTokenBudget !== null) fail('thinkingTokenBudget', 'cannot be used with use_beam_search');
  if (logits.logitsProcessors.length > 0) fail('logitsProcessors', 'cannot be used with use_beam_search');
  if (logits.logitBias.length > 0) fail('logitBias', 'cannot be used with use_beam_search');
  if (logits.allowedTokenIds !== null) fail('allowedTokenIds', 'cannot be used with use_beam_search');
  if (logits.badWords.length > 0) fail('badWords', 'cannot be used with use_beam_search');
  if (logprobs.logprobTokenIds !== null) fail('logprobTokenIds', 'cannot be used with use_beam_search');
  if (presencePenalty !== 0) fail('presencePenalty', 'must be 0 when using beam search');
  if (frequencyPenalty !== 0) fail('frequencyPenalty', 'must be 0 when using beam search');
  if (repetitionPenalty !== 1) fail('repetitionPenalty', 'must be 1 when using beam search');
  if (stop.length > 0) fail('stop', 'strings cannot be used with use_beam_search: use stop_token_ids');
}

type Logprobs = Pick<ResolvedSamplingParams, 'logprobs' | 'promptLogprobs' | 'logprobTokenIds'>;

function resolveLogprobs(given: Given, limits: SamplingLimits): Logprobs {
  const count = (value: unknown, name: string) => logprobCount(value, name, limits);
  const asked = take(given, 'logprobs', null, count);
  const ids = take(given, 'logprobTokenIds', null, value => checkLogprobTokenIds(value, limits.vocabSize));
  if (ids !== null && asked !== null && asked !== ids.length) {
    fail('logprobs', `must be absent or ${ids.length}, the number of logprob_token_ids, got ${asked}`);
  }
  return {
    logprobs: ids === null ? asked : 0,
    promptLogprobs: take(given, 'promptLogprobs', null, count),
    logprobTokenIds: ids,
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

function logprobCount(value: unknown, name: string, limits: SamplingLimits): number | null {
  if (value === null || value === false) return null;
  if (value === true) return logprobCount(1, name, limits);
  const asked = checkInteger(name, value, 'non-negative or -1', count => count >= -1);
  const count = asked === -1 ? limits.vocabSize : asked;
  const allowed = limits.maxLogprobs === -1 ? limits.vocabSize : limits.maxLogprobs;
  if (count > allowed) {
    fail(name, `asks for ${asked === -1 ? 'all' : asked} tokens, this engine allows ${allowed} (max_logprobs)`);
  }
  return count;
}

/** The most tokens of a prompt: a token must have room behind it, unless nothing is sampled. */
export function longestPrompt({
  maxModelLen,
  pooling = null,
}: Pick<SamplingLimits, 'maxModelLen' | 'pooling'>): number {
  return pooling === null ? maxModelLen - 1 : maxModelLen;
}

/** Throws InvalidRequestError unless every id lies inside the logits and a token can follow the prompt. */
export function checkPrompt(
  tokenIds: ArrayLike<number>,
  limits: Pick<SamplingLimits, 'maxModelLen' | 'vocabSize' | 'pooling'>,
): void {
  const { length } = tokenIds;
  if (length === 0) throw new InvalidRequestError('The prompt is empty. Give at least one token.', 'prompt');
  if (length > longestPrompt(limits)) {
    const output = (limits.pooling ?? null) === null ? ', one of them for output' : '';
    throw new InvalidRequestError(
      `The prompt has ${length} tokens; the context is ${limits.maxModelLen} tokens${output}. Shorten the prompt.`,
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
