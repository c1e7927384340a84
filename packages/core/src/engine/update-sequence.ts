import { SAMPLE_FINITE, SAMPLE_LIVE } from '../contract/contract.ts';
import { EngineError, InvalidRequestError } from '../errors.ts';
import type { ResolvedSamplingParams } from '../sampling/sampling-params.ts';
import type { StepResult } from '../worker/types.ts';
import type { SequenceOutput } from './output-processor.ts';
import type { SequenceEnd } from './outputs.ts';
import type { Request } from './request.ts';
import type { StepBatch } from './step-batch.ts';

export const LENGTH: SequenceEnd = { reason: 'length', stopReason: null };
const EOS: SequenceEnd = { reason: 'stop', stopReason: null };

/** What a step computed for sequences, and the rules by which they end. */
export interface SequenceUpdate {
  batch: StepBatch;
  result: StepResult;
  eos: ReadonlySet<number>;
  vocabSize: number;
}

/**
 * Gives the i-th sequence of a batch what the step computed for it: log-probabilities of its prompt, then its tokens, one by
 * one, until one ends it. Tokens computed past that are dropped. Throws EngineError when the device's answer is
 * unusable, and InvalidRequestError when the request leaves no token to choose.
 */
export function updateSequence(sequence: SequenceOutput, i: number, update: SequenceUpdate): SequenceEnd | null {
  const { batch, result } = update;
  if (sequence.request.pools !== null) return takePooled(sequence, i, update);
  if (batch.promptLogprobs[i]! >= 0) takePromptLogprobs(sequence, batch, i, result);
  const appends = batch.appends(i);
  for (let repeat = 0; repeat < appends; repeat++) {
    sequence.request.numPlaceholders--;
    const end = takeToken(sequence, i, repeat * batch.numSequences + i, update);
    if (end !== null) return end;
  }
  return null;
}

/** The hidden states of a sequence that is computed: there is nothing to sample behind them. */
function takePooled(
  { group, request }: SequenceOutput,
  i: number,
  { batch, result }: SequenceUpdate,
): SequenceEnd | null {
  if (batch.appends(i) === 0) return null;
  request.numPlaceholders--;
  const pooled = result.pooled?.get(batch.rows[i]!);
  if (pooled === undefined) throw new EngineError('The device returned no hidden states for a prompt.');
  if (!pooled.every(Number.isFinite))
    throw new EngineError('The model gave hidden states that are not finite for this request.');
  const share = request.pools === 'mean' ? 1 / request.numPromptTokens : 1;
  group.pooled = pooled.map(value => value * share);
  return EOS;
}

/**
 * The same for a sequence whose drafts were checked by the entries behind it: their samples count up to the first draft that is
 * not what was sampled in its place. Returns the end, and how many drafts held.
 */
export function updateSpeculated(
  sequence: SequenceOutput,
  i: number,
  update: SequenceUpdate,
): { end: SequenceEnd | null; accepted: number } {
  const { request } = sequence;
  request.numPlaceholders--;
  for (let accepted = 0; ; accepted++) {
    const entry = i + accepted;
    const holds =
      accepted < update.batch.numDrafts(i) && request.tokens[request.numTokens] === update.result.tokenIds[entry];
    const end = takeToken(sequence, entry, entry, update);
    if (end !== null || !holds) return { end, accepted };
  }
}

/** Takes the token at index `at` of the result, sampled by entry i of the batch. */
function takeToken(sequence: SequenceOutput, i: number, at: number, update: SequenceUpdate): SequenceEnd | null {
  const { batch, result, eos, vocabSize } = update;
  const { request } = sequence;
  const token = checkedToken(result.tokenIds[at]!, result.flags[at]!, vocabSize);
  if (request.hasHostWork) {
    if (endsInsteadOf(request, token, eos)) return EOS;
    checkConstraint(request, token);
  }
  request.append(token);
  if (result.logprobs !== null) {
    const sample = result.sampleStarts[i]! + batch.sampleCounts[i]! - 1;
    sequence.pushLogprobs(result.logprobs, sample, result.hostLogprobs?.get(batch.rows[i]!));
  }
  const end = acceptToken(sequence, token, eos);
  if (end === null) request.constraint?.accept(token);
  return end;
}

/** Gives the i-th sequence of a batch, which is a beam, its candidates. Throws EngineError as `updateSequence` does. */
export function updateBeam(beam: SequenceOutput, i: number, { batch, result, vocabSize }: SequenceUpdate): void {
  if (batch.promptLogprobs[i]! >= 0) takePromptLogprobs(beam, batch, i, result);
  if (batch.appends(i) === 0) return;
  checkedToken(result.tokenIds[i]!, result.flags[i]!, vocabSize);
  if (result.logprobs === null) throw new EngineError('The device returned no log-probabilities for a beam.');
  beam.request.numPlaceholders--;
  beam.group.beams!.take(beam, result.logprobs, result.sampleStarts[i]! + batch.sampleCounts[i]! - 1);
}

function checkedToken(token: number, flags: number, vocabSize: number): number {
  if ((flags & SAMPLE_LIVE) === 0) throw new EngineError('The device skipped a token that was scheduled.');
  if ((flags & SAMPLE_FINITE) === 0) throw nonFinite();
  if (token >= vocabSize) throw new EngineError(`The device sampled token ${token}, outside the ${vocabSize} logits.`);
  return token;
}

/**
 * A grammar that is fulfilled ends its request, also where min_tokens masks the end-of-sequence tokens or they do not count: the
 * token that was sampled for want of a better one is dropped.
 */
function endsInsteadOf(
  { constraint, params, numOutputTokens }: Request,
  token: number,
  eos: ReadonlySet<number>,
): boolean {
  if (constraint === null || !constraint.hasGrammar) return false;
  const isFree = numOutputTokens >= params.minTokens && !params.ignoreEos;
  return !(isFree && eos.has(token)) && constraint.allowsOnly(eos);
}

/** A masked token is sampled only when nothing else is left. */
function checkConstraint({ constraint, processorError }: Request, token: number): void {
  if (processorError !== null) {
    throw new EngineError(`A logits processor failed: ${processorError.message}`, { cause: processorError });
  }
  if (constraint === null || constraint.allows(token)) return;
  // Not found out before: it depends on the tokens so far.
  throw new InvalidRequestError(
    'No token may follow: what allowed_token_ids, bad_words, thinking_token_budget and structured_outputs allow excludes each other.',
    constraint.hasGrammar ? 'structured_outputs' : 'allowed_token_ids',
    'constraints_exclude_each_other',
  );
}

function nonFinite(): EngineError {
  return new EngineError('The model gave logits that are not finite for this request.');
}

function takePromptLogprobs(sequence: SequenceOutput, batch: StepBatch, i: number, result: StepResult): void {
  if (result.logprobs === null) throw new EngineError('The device returned no log-probabilities for a prompt.');
  const { group, request } = sequence;
  const first = result.sampleStarts[i]!;
  for (let j = 0; j < batch.queryLens[i]!; j++) {
    const position = batch.start(i) + j + 1;
    if (position >= request.numPromptTokens) return;
    const chosen = result.logprobs.logprobs[(first + j) * (1 + result.logprobs.topN)]!;
    if (!Number.isFinite(chosen)) throw nonFinite();
    group.pushPromptLogprobs(request, result.logprobs, first + j, position);
  }
}

/**
 * Stop rules in vLLM's order: EOS, stop token ids, stop strings, length. The first three count from min_tokens on; length always
 * does, so that min_tokens can keep no request alive. The text of a stop token is shown only with include_stop_str_in_output.
 */
export function acceptToken(sequence: SequenceOutput, token: number, eos: ReadonlySet<number>): SequenceEnd | null {
  const { request } = sequence;
  const end = request.numTokens >= request.stopsFrom ? stopOf(request.params, token, eos) : null;
  if (end !== null) {
    if (request.params.includeStopStrInOutput) sequence.pushText(token);
    return end;
  }
  const stop = sequence.pushText(token);
  if (stop !== null) return { reason: 'stop', stopReason: stop };
  return request.numTokens >= request.tokenLimit ? LENGTH : null;
}

/** How a token ends its sequence by itself: as EOS, or as one of the request's stop ids. */
export function stopOf(params: ResolvedSamplingParams, token: number, eos: ReadonlySet<number>): SequenceEnd | null {
  if (!params.ignoreEos && eos.has(token)) return EOS;
  return params.stopTokenIds.has(token) ? { reason: 'stop', stopReason: token } : null;
}
