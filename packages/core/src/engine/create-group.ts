import type { PoolingConfig } from '../models/config.ts';
import { stopIdsOf } from '../sampling/resolve.ts';
import type { ResolvedSamplingParams } from '../sampling/sampling-params.ts';
import { deriveSeed } from '../sampling/seeds.ts';
import type { GrammarService } from '../structured-output/grammar-service.ts';
import type { Tokenizer } from '../tokenizer/types.ts';
import type { Adapter } from './adapters.ts';
import { BeamSearch } from './beam-search.ts';
import { RequestGroup, SequenceOutput } from './output-processor.ts';
import { rankOf } from './priority.ts';
import type { Prompt } from './prompt.ts';
import type { ResumedCompletion } from './resume.ts';
import { TokenConstraint } from './token-constraint.ts';

export interface GroupInit {
  id: string;
  prompt: Prompt;
  params: ResolvedSamplingParams;
  /** Number of the group's first sequence among all of the engine. */
  number: number;
  /** Milliseconds on the engine's clock. */
  arrival: number;
  /** Unsigned 64-bit pattern from which the seed derives when the request has none. */
  engineSeed: bigint;
  eosTokenIds: readonly number[];
  tokenizer: Tokenizer | null;
  /** Width of the logits. */
  vocabSize: number;
  grammars: GrammarService | null;
  /** Requests are pooled, and sample nothing. */
  pools?: PoolingConfig['type'] | null | undefined;
  /** The engine guesses tokens ahead. */
  speculates: boolean;
  /** Computes it, in place of the model alone. */
  adapter?: Adapter | null;
  /** What its completions begin with. */
  resume?: readonly ResumedCompletion[] | undefined;
  /** Its tokens are computed by another engine: nothing is prepared here that only computing needs. */
  isElsewhere?: boolean;
}

/**
 * A request and its completions: the first leads, and the others follow once it has computed the prompt. Completion i samples
 * with the request's seed + i. Beams start from the first.
 */
export function createGroup(init: GroupInit): RequestGroup {
  const group = new RequestGroup(init.id, init.prompt, init.params, init.arrival);
  for (let i = 0; i < init.params.bestOf; i++) group.add(createSequence(group, i, init));
  const [leader, ...followers] = group.sequences.map(({ request }) => request);
  const siblings = group.sequences.length === 1 ? [] : [leader!, ...followers];
  for (const request of siblings) request.siblings = siblings;
  if (init.isElsewhere === true) return group;
  if (init.params.useBeamSearch) {
    group.beams = new BeamSearch(group, numCandidates(init), new Set(init.eosTokenIds));
    for (const request of siblings) request.needsHost = true;
  } else {
    leader!.followers = followers;
  }
  return group;
}

function createSequence(group: RequestGroup, index: number, init: GroupInit): SequenceOutput {
  const { prompt, engineSeed, eosTokenIds, tokenizer } = init;
  const number = init.number + index;
  const params = childParams(group, index, init);
  const { seed } = group.params;
  const request = {
    promptTokenIds: prompt.tokenIds,
    params,
    seed: seed === null ? deriveSeed(engineSeed, number) : BigInt.asUintN(64, seed + BigInt(index)),
    stopTokenIds: stopIdsOf(params, eosTokenIds),
    rank: rankOf(params.priority, number),
    arrival: number,
    pools: init.pools ?? null,
    constraint: init.isElsewhere === true ? null : createConstraint(params, init, init.resume?.[index]?.tokenIds ?? []),
    speculates: init.speculates && !params.useBeamSearch && params.logprobTokenIds === null,
    adapter: init.adapter ?? null,
    ...(params.cacheSalt === null ? {} : { salt: params.cacheSalt }),
  };
  return new SequenceOutput(group, index, request, tokenizer);
}

/** Which ids a completion may sample; null: all. */
function createConstraint(
  params: ResolvedSamplingParams,
  init: GroupInit,
  outputTokenIds: readonly number[],
): TokenConstraint | null {
  const { allowedTokenIds, badWords, thinkingTokenBudget, structuredOutputs } = params;
  const { vocabSize, grammars } = init;
  const isFree = allowedTokenIds === null && badWords.length === 0 && thinkingTokenBudget === null;
  if (isFree && structuredOutputs === null) return null;
  const openGrammar = structuredOutputs && grammars && (() => grammars.start(structuredOutputs, outputTokenIds));
  return new TokenConstraint({ vocabSize, allowedTokenIds, badWords, thinkingTokenBudget, openGrammar });
}

/** The first completion scores the prompt; those that are ranked by their log-probability compute it; beams need candidates. */
function childParams({ params, choosesAtEnd }: RequestGroup, index: number, init: GroupInit): ResolvedSamplingParams {
  const promptLogprobs = index === 0 ? params.promptLogprobs : null;
  const asked = params.logprobs ?? (choosesAtEnd ? 0 : null);
  const logprobs = params.useBeamSearch ? Math.max(asked ?? 0, numCandidates(init)) : asked;
  const isSame = promptLogprobs === params.promptLogprobs && logprobs === params.logprobs;
  return isSame ? params : { ...params, promptLogprobs, logprobs };
}

/** Twice the width, so that enough beams are left when one token of each ends it; and those that min_tokens masks. */
function numCandidates({ params, eosTokenIds, vocabSize }: GroupInit): number {
  const masked = params.minTokens > 0 ? stopIdsOf(params, eosTokenIds).length : 0;
  return Math.min(vocabSize, 2 * params.bestOf + masked);
}
