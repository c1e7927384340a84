import type { GenerationConfig } from '../models/config.ts';
import { checkInteger, checkNumber, fail } from './checks.ts';
import { boolean, type Given, take } from './given.ts';
import type { ResolvedSamplingParams } from './sampling-params.ts';

/** Most completions of one request: a bound on the work that a single request can ask for. */
export const MAX_N = 128;
/** Temperatures below this are greedy. */
const GREEDY_BELOW = 1e-5;
/** The smallest temperature of random sampling: below it, scaled logits leave the range of f32 arithmetic. */
const MIN_TEMPERATURE = 0.01;

type Draw = Pick<ResolvedSamplingParams, 'temperature' | 'topP' | 'topK' | 'minP'>;
type Beams = Pick<ResolvedSamplingParams, 'useBeamSearch' | 'lengthPenalty' | 'earlyStopping'>;
type Counts = Pick<ResolvedSamplingParams, 'n' | 'bestOf'>;
export type Randomness = Draw & Beams & Counts;

/** What decides how many completions there are and how their tokens are drawn. */
export function resolveRandomness(
  given: Given,
  context: { limits: { vocabSize: number }; generationConfig: GenerationConfig | null },
): Randomness {
  const counts = resolveCounts(given);
  const beams = resolveBeams(given);
  // Beam search draws nothing, so defaults of a model's sampler do not concern it.
  const draw = beams.useBeamSearch ? resolveDraw(given, null, 0) : resolveDraw(given, context.generationConfig, 1);
  if (beams.useBeamSearch) checkBeams(counts, draw);
  const isGreedy = draw.temperature < GREEDY_BELOW;
  if (isGreedy && !beams.useBeamSearch) checkGreedy(counts);
  const isOff = draw.topK < 1 || draw.topK >= context.limits.vocabSize;
  return {
    n: counts.n,
    bestOf: counts.bestOf,
    useBeamSearch: beams.useBeamSearch,
    lengthPenalty: beams.lengthPenalty,
    earlyStopping: beams.earlyStopping,
    temperature: isGreedy ? 0 : Math.max(draw.temperature, MIN_TEMPERATURE),
    topP: isGreedy ? 1 : draw.topP,
    topK: isGreedy || isOff ? 0 : draw.topK,
    minP: isGreedy ? 0 : draw.minP,
  };
}

function resolveDraw(given: Given, defaults: GenerationConfig | null, defaultTemperature: number): Draw {
  return {
    temperature: take(given, 'temperature', defaults?.temperature ?? defaultTemperature, (value, name) =>
      checkNumber(name, value, 'in [0, 2]', t => t >= 0 && t <= 2),
    ),
    topP: take(given, 'topP', defaults?.topP ?? 1, (value, name) =>
      checkNumber(name, value, 'in (0, 1]', p => p > 0 && p <= 1),
    ),
    topK: take(given, 'topK', defaults?.topK ?? 0, (value, name) =>
      checkInteger(name, value, '0 or -1 (off), or at least 1', k => k >= -1),
    ),
    minP: take(given, 'minP', defaults?.minP ?? 0, (value, name) =>
      checkNumber(name, value, 'in [0, 1]', p => p >= 0 && p <= 1),
    ),
  };
}

function resolveCounts(given: Given): Counts {
  const count = (value: unknown, name: string) =>
    checkInteger(name, value, `at least 1 and at most ${MAX_N}`, entries => entries >= 1 && entries <= MAX_N);
  const n = take(given, 'n', 1, count);
  const bestOf = take(given, 'bestOf', n, (value, name) => (value === null ? n : count(value, name)));
  if (bestOf < n) fail('bestOf', `must be greater than or equal to n=${n}, got ${bestOf}`);
  return { n, bestOf };
}

function checkGreedy({ n, bestOf }: Counts): void {
  if (n > 1) fail('n', `must be 1 when using greedy sampling, got ${n}`);
  if (bestOf > 1) fail('bestOf', `must be 1 when using greedy sampling, got ${bestOf}`);
}

function resolveBeams(given: Given): Beams {
  const useBeamSearch = take(given, 'useBeamSearch', false, boolean);
  const lengthPenalty = take(given, 'lengthPenalty', 1, (value, name) =>
    checkNumber(name, value, 'a number', Number.isFinite),
  );
  const earlyStopping = take(given, 'earlyStopping', false, (value, name) =>
    value === 'never' ? value : boolean(value, name),
  );
  if (!useBeamSearch && lengthPenalty !== 1) fail('lengthPenalty', 'can only be set with use_beam_search');
  if (!useBeamSearch && earlyStopping !== false) fail('earlyStopping', 'can only be set with use_beam_search');
  return { useBeamSearch, lengthPenalty, earlyStopping };
}

function checkBeams({ bestOf }: Counts, { temperature, topP, topK, minP }: Draw): void {
  if (bestOf === 1) fail('bestOf', 'must be greater than 1 when using beam search');
  if (temperature >= GREEDY_BELOW) fail('temperature', `must be 0 when using beam search, got ${temperature}`);
  if (topP < 1) fail('topP', `must be 1 when using beam search, got ${topP}`);
  if (topK > 0) fail('topK', `must be 0 or -1 when using beam search, got ${topK}`);
  if (minP > 0) fail('minP', `must be 0 when using beam search, got ${minP}`);
}
