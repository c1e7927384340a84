import type { PoolingConfig } from '../models/config.ts';
import type { ResolvedSamplingParams } from '../sampling/sampling-params.ts';
import type { RowSampling } from '../worker/types.ts';
import { type Adapter, cacheRoot } from './adapters.ts';
import { BlockTable } from './block-table.ts';
import type { TokenConstraint } from './token-constraint.ts';

/** A request is in the waiting queue (waiting, preempted), among the running ones, or finished. */
export type RequestStatus = 'waiting' | 'running' | 'preempted' | 'finished';

export interface RequestInit {
  promptTokenIds: ArrayLike<number>;
  params: ResolvedSamplingParams;
  /** Unsigned 64-bit pattern. */
  seed: bigint;
  /** EOS and the request's own stop ids. */
  stopTokenIds: readonly number[];
  /** Requests under different salts share no cached blocks. */
  salt?: string;
  /** Computes it, in place of the model alone. Default null. */
  adapter?: Adapter | null;
  /** Its place among all requests: lower runs first. Unique. */
  rank?: number;
  /** The host must see each sampled token before the next step of this request can be scheduled. */
  needsHost?: boolean;
  /** Tokens may be guessed ahead and checked, several in a step. */
  speculates?: boolean;
  /** Which ids it may sample; null: all. */
  constraint?: TokenConstraint | null;
  /** It samples nothing: once its prompt is computed, it gets its hidden states. Default null. */
  pools?: PoolingConfig['type'] | null;
  /** What the engine keeps beside the request: where its output goes. */
  owner?: unknown;
}

/** No row of the device. */
export const NO_ROW = -1;
/** No slot for an adapter. */
export const NO_SLOT = -1;

/**
 * One sequence: its tokens, and how far they are computed. The host's copy is the truth; blocks and row are only borrowed.
 *
 * numComputed and numPlaceholders run ahead of the results: they count what was submitted. `virtualTokens` is the length that
 * the device's copy of the sequence will have once everything submitted is done.
 */
export class Request {
  readonly params: ResolvedSamplingParams;
  readonly numPromptTokens: number;
  /** Prompt plus max_tokens; the sequence never grows beyond it. */
  readonly tokenLimit: number;
  /** Length from which on a token can end it: after min_tokens; never when neither EOS nor a stop id counts. */
  readonly stopsFrom: number;
  readonly sampling: RowSampling;
  readonly table: BlockTable;
  readonly rank: number;
  readonly owner: unknown;
  /**
   * Rows that need the host between two steps sit out of run-ahead: such a request is scheduled again only when all its
   * sampled ids are known and nobody holds it.
   */
  needsHost: boolean;
  readonly speculates: boolean;
  readonly pools: PoolingConfig['type'] | null;
  /** The host has something to say on each token that it samples, or to read of it beside its id. */
  readonly hasHostWork: boolean;
  /** The host has yet to decide how the request goes on; the scheduler leaves it out. */
  isHeld = false;
  /** It took part in a step that failed, and has sampled nothing since. */
  isSuspect = false;
  /** Its blocks are on their way from host memory. */
  isLoading = false;
  /** First token that the host chose and the device's row does not have; -1: the row has them all. */
  editStart = -1;
  /** Wait until this request's prompt is computed, then share its blocks. */
  followers: readonly Request[] = [];
  /** All completions of its prompt: while one runs, another may begin with its blocks. */
  siblings: readonly Request[] = [];
  readonly adapter: Adapter | null;
  /** Where its adapter lies on the device while it runs. */
  adapterSlot = NO_SLOT;
  /** Requests with other adapters that began while this one waited for room for its own. */
  timesPassed = 0;
  readonly constraint: TokenConstraint | null;
  /** What a logits processor of the caller's threw. */
  processorError: Error | null = null;
  status: RequestStatus = 'waiting';
  numTokens: number;
  /** Tokens whose keys and values are computed by what was submitted, or lie in the cache. */
  numComputed = 0;
  /** Tokens that submitted steps will sample. */
  numPlaceholders = 0;
  /** Raised when the request loses its row: results of older steps are dropped. */
  generation = 0;
  row = NO_ROW;
  /** The device knows nothing of its row yet. */
  isRowNew = false;
  /** The step in which it got its row, the last that computed tokens of it, and how many were computed before that. */
  firstStep = -1;
  lastStep = -1;
  numComputedBefore = 0;
  /** Tokens found in the prefix cache when it first ran; -1 before. */
  numCachedTokens = -1;
  readonly #scoresPrompt: boolean;
  /** Prompt positions whose log-probabilities arrived, from position 1 on. */
  numPromptLogprobs = 0;
  /** Neighbours in the waiting queue. */
  before: Request | null = null;
  after: Request | null = null;
  isQueued = false;
  #tokens: Uint32Array;

  constructor(init: RequestInit) {
    const { promptTokenIds, params } = init;
    this.params = params;
    this.numPromptTokens = promptTokenIds.length;
    this.numTokens = promptTokenIds.length;
    this.tokenLimit = this.numPromptTokens + params.maxTokens;
    const neverStops = params.ignoreEos && params.stopTokenIds.size === 0;
    this.stopsFrom = neverStops ? Number.MAX_SAFE_INTEGER : this.numPromptTokens + params.minTokens + 1;
    this.#scoresPrompt = params.promptLogprobs !== null;
    this.sampling = rowSampling(init);
    this.adapter = init.adapter ?? null;
    this.table = new BlockTable(cacheRoot(this.adapter, init.salt ?? ''));
    this.rank = init.rank ?? 0;
    this.owner = init.owner;
    this.pools = init.pools ?? null;
    this.constraint = init.constraint ?? null;
    const dependsOnTokens = this.constraint?.waitsForTokens === true || params.logitsProcessors.length > 0;
    this.hasHostWork =
      this.constraint !== null || params.logitsProcessors.length > 0 || params.logprobTokenIds !== null;
    this.speculates = init.speculates === true && this.constraint === null && !dependsOnTokens;
    this.needsHost = init.needsHost === true || dependsOnTokens || this.speculates;
    this.#tokens = new Uint32Array(Math.min(this.tokenLimit, this.numPromptTokens + 16));
    this.#tokens.set(promptTokenIds);
  }

  get virtualTokens(): number {
    return this.numTokens + this.numPlaceholders;
  }

  /** The host must act before another token of it can be computed. */
  get waitsForHost(): boolean {
    if (this.isHeld || this.isLoading) return true;
    return this.needsHost && (this.numPlaceholders > 0 || this.constraint?.isReady === false);
  }

  get numOutputTokens(): number {
    return this.numTokens - this.numPromptTokens;
  }

  /** Tokens known to the host; only the first numTokens entries are meant. Replaced when it grows. */
  get tokens(): Uint32Array {
    return this.#tokens;
  }

  /** Cached keys and values do not do: something is wanted of every token of the prompt. */
  get computesAll(): boolean {
    return this.wantsPromptLogprobs || this.pools === 'mean';
  }

  /** Whether a step that starts at numComputed must return log-probabilities of prompt tokens. */
  get wantsPromptLogprobs(): boolean {
    return (
      this.#scoresPrompt &&
      this.numPromptLogprobs < this.numPromptTokens - 1 &&
      this.numComputed < this.numPromptTokens - 1
    );
  }

  append(token: number): void {
    this.#reserve(this.numTokens + 1);
    this.#tokens[this.numTokens++] = token;
  }

  /** Puts tokens behind the known ones that may turn out to follow them. */
  setDrafts(drafts: Uint32Array): void {
    this.#reserve(this.numTokens + drafts.length);
    this.#tokens.set(drafts, this.numTokens);
  }

  /** Goes on with a token of the host's choice in place of what the row sampled. */
  choose(token: number): void {
    if (this.row !== NO_ROW && this.editStart < 0) this.editStart = this.numTokens;
    this.append(token);
    this.isHeld = false;
  }

  /** Replaces the output, of a request that runs no more. */
  setOutput(tokens: readonly number[]): void {
    this.numTokens = this.numPromptTokens;
    for (const token of tokens) this.append(token);
  }

  /** How many of the first `most` tokens are those of another request. */
  commonPrefix(other: Request, most: number): number {
    const end = Math.min(most, this.numTokens, other.numTokens);
    let length = 0;
    while (length < end && this.#tokens[length] === other.#tokens[length]) length++;
    return length;
  }

  /** Takes over the tokens of another sequence of the same prompt, all but those that follow its first `length`. */
  copyTokens(from: Request, length: number): void {
    this.#reserve(length);
    this.#tokens.set(from.#tokens.subarray(0, length));
    this.numTokens = length;
  }

  #reserve(length: number): void {
    if (length <= this.#tokens.length) return;
    const grown = new Uint32Array(Math.min(this.tokenLimit, Math.max(length, 2 * this.#tokens.length)));
    grown.set(this.#tokens);
    this.#tokens = grown;
  }

  /** A copy of the output tokens from the index-th on. */
  outputTokens(index = 0): number[] {
    return Array.from(this.#tokens.subarray(this.numPromptTokens + index, this.numTokens));
  }

  /** Forgets everything that was computed or is in flight; the tokens stay. */
  resetComputed(): void {
    this.numComputed = 0;
    this.numPlaceholders = 0;
    this.generation++;
    this.row = NO_ROW;
    this.isLoading = false;
    this.editStart = -1;
  }
}

function rowSampling({ params, seed, stopTokenIds, constraint }: RequestInit): RowSampling {
  return {
    temperature: params.temperature,
    topK: params.topK,
    topP: params.topP,
    minP: params.minP,
    seed,
    presencePenalty: params.presencePenalty,
    frequencyPenalty: params.frequencyPenalty,
    repetitionPenalty: params.repetitionPenalty,
    minTokens: params.minTokens,
    stopTokenIds: params.minTokens > 0 ? stopTokenIds : [],
    logitBias: params.logitBias,
    masked: (constraint ?? null) !== null,
  };
}
