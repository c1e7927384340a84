import { InvalidRequestError } from '../errors.ts';
import type { ResolvedSamplingParams } from '../sampling/sampling-params.ts';
import type { RequestGroup, SequenceOutput } from './output-processor.ts';
import type { PositionLogprobs, SequenceEnd } from './outputs.ts';
import { acceptToken } from './update-sequence.ts';

/** What is there already of one completion of a request that another engine began. */
export interface ResumedCompletion {
  readonly tokenIds: readonly number[];
  /** One per token, where the request asks for them. Without, outputs hold those of later tokens alone. */
  readonly logprobs?: readonly PositionLogprobs[] | null;
  /** The sum of those, by which completions are ranked. Default: that of `logprobs`. */
  readonly cumulativeLogprob?: number | null;
  /** How it ended, if it has and its tokens do not say so. */
  readonly end?: SequenceEnd | null;
}

/**
 * Throws InvalidRequestError unless there is one entry for each completion that is computed, each within the request's bounds.
 * Beams cannot be resumed: nothing of them was given out, so the request begins again.
 */
export function checkResume(
  resume: readonly ResumedCompletion[],
  params: ResolvedSamplingParams,
  vocabSize: number,
): void {
  if (params.useBeamSearch) throw refused('cannot be used with use_beam_search: begin such a request again');
  if (resume.length !== params.bestOf) {
    throw refused(`must have an entry for each of the ${params.bestOf} completions, got ${resume.length}`);
  }
  for (const { tokenIds, logprobs = null } of resume) {
    if (tokenIds.length > params.maxTokens) {
      throw refused(`has ${tokenIds.length} tokens in a completion of at most ${params.maxTokens}`);
    }
    if (logprobs !== null && logprobs.length !== tokenIds.length) {
      throw refused(`has ${logprobs.length} log-probabilities for ${tokenIds.length} tokens`);
    }
    const wrong = tokenIds.find(id => !Number.isInteger(id) || id < 0 || id >= vocabSize);
    if (wrong !== undefined) throw refused(`has the token ${wrong}, outside the ${vocabSize} logits`);
  }
}

/**
 * Gives the completions of a new request the tokens that exist already, as if they had just been computed: text, stop rules, and
 * log-probabilities. Returns how each ended, null for those that go on. Throws InvalidRequestError for tokens behind an end.
 */
export function resumeGroup(
  group: RequestGroup,
  resume: readonly ResumedCompletion[],
  eos: ReadonlySet<number>,
): (SequenceEnd | null)[] {
  group.isResumed = true;
  // The prompt is not computed by one for all: each goes on by itself, and shares what blocks it can.
  for (const { request } of group.sequences) request.followers = [];
  return group.sequences.map((sequence, i) => resumeSequence(sequence, resume[i]!, eos));
}

function resumeSequence(
  sequence: SequenceOutput,
  { tokenIds, logprobs = null, cumulativeLogprob = null, end: given = null }: ResumedCompletion,
  eos: ReadonlySet<number>,
): SequenceEnd | null {
  let end: SequenceEnd | null = null;
  for (const [i, token] of tokenIds.entries()) {
    if (end !== null) throw refused(`has tokens behind the one that ended its completion, the ${i}th`);
    sequence.request.append(token);
    if (logprobs !== null) sequence.addLogprobs(logprobs[i]!);
    end = acceptToken(sequence, token, eos);
  }
  if (sequence.cumulativeLogprob !== null) sequence.cumulativeLogprob = cumulativeLogprob ?? sequence.cumulativeLogprob;
  return end ?? given;
}

function refused(why: string): InvalidRequestError {
  return new InvalidRequestError(`resume ${why}.`, 'resume');
}
