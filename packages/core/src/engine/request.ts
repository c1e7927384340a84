import type { PoolingConfig } from '../models/config.ts';
import type { ResolvedSamplingParams } from '../sampling/sampling-params.ts';
import type { RowSampling } from '../worker/types.ts';
import { type Adapter, cacheRoot } from './adapters.ts';
import { BlockTable } from './block-table.ts';
import { Field, type Listener, NEVER, RECENT_TOKENS, RECORD_WORDS, type RunningRows } from './running-rows.ts';
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
  /** Its place among all requests: lower runs first. Default 0. */
  rank?: number;
  /** How many came before it: of equal ranks, lower runs first. Default 0. */
  arrival?: number;
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

/** What a request without a row knows nothing of. */
const FORGOTTEN = [Field.numComputed, Field.numPlaceholders, Field.decodesUntil, Field.cachesAt, Field.decodes];

/**
 * One sequence: its tokens, and how far they are computed. The host's copy is the truth; blocks and row are only borrowed.
 * While it has a row, what changes with each step lies in `RunningRows`, and its newest tokens too; here otherwise.
 *
 * numComputed and numPlaceholders run ahead of the results: they count what was submitted. `virtualTokens` is the length that
 * the device's copy of the sequence will have once everything submitted is done.
 */
export class Request {
  readonly params: ResolvedSamplingParams;
  readonly numPromptTokens: number;
  /** Prompt plus max_tokens; the sequence never grows beyond it. */
  readonly tokenLimit: number;
  /** Length from which on a token can end it: after min_tokens; NEVER when neither EOS nor a stop id counts. */
  readonly stopsFrom: number;
  readonly sampling: RowSampling;
  readonly table: BlockTable;
  readonly rank: number;
  readonly arrival: number;
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
  /** Raised when the request loses its row. */
  generation = 0;
  /** The device knows nothing of its row yet. */
  isRowNew = false;
  /** The step in which it got its row. */
  firstStep = -1;
  /** Tokens found in the prefix cache when it first ran; -1 before. */
  numCachedTokens = -1;
  readonly #scoresPrompt: boolean;
  /** Prompt positions whose log-probabilities arrived, from position 1 on. */
  numPromptLogprobs = 0;
  /** Neighbours in the waiting queue. */
  before: Request | null = null;
  after: Request | null = null;
  isQueued = false;
  #row = NO_ROW;
  #rows: RunningRows | null = null;
  /** Its record: one in RunningRows, or its own. */
  #words: Int32Array = new Int32Array(RECORD_WORDS);
  #at = 0;
  #lastToken = Number.NaN;
  #tokens: Uint32Array;
  /** How many of them lie in its own list; the others are recent tokens of its row. */
  #numKept: number;

  constructor(init: RequestInit) {
    const { promptTokenIds, params } = init;
    this.params = params;
    this.numPromptTokens = promptTokenIds.length;
    this.#numKept = promptTokenIds.length;
    this.tokenLimit = this.numPromptTokens + params.maxTokens;
    const neverStops = params.ignoreEos && params.stopTokenIds.size === 0;
    this.stopsFrom = neverStops ? NEVER : this.numPromptTokens + params.minTokens + 1;
    this.#words[Field.numTokens] = promptTokenIds.length;
    this.#words[Field.tokenLimit] = this.tokenLimit;
    this.#words[Field.stopsFrom] = this.stopsFrom;
    this.#words[Field.lastStep] = -1;
    this.#scoresPrompt = params.promptLogprobs !== null;
    this.sampling = rowSampling(init);
    this.adapter = init.adapter ?? null;
    this.table = new BlockTable(cacheRoot(this.adapter, init.salt ?? ''));
    this.rank = init.rank ?? 0;
    this.arrival = init.arrival ?? 0;
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

  get row(): number {
    return this.#row;
  }

  /** Tokens known to the host. */
  get numTokens(): number {
    return this.#words[this.#at + Field.numTokens]!;
  }

  /** Tokens whose keys and values are computed by what was submitted, or lie in the cache. */
  get numComputed(): number {
    return this.#words[this.#at + Field.numComputed]!;
  }

  set numComputed(count: number) {
    this.#words[this.#at + Field.numComputed] = count;
  }

  /** Tokens that submitted steps will sample. */
  get numPlaceholders(): number {
    return this.#words[this.#at + Field.numPlaceholders]!;
  }

  set numPlaceholders(count: number) {
    this.#words[this.#at + Field.numPlaceholders] = count;
  }

  /** The last step that computed tokens of it. */
  get lastStep(): number {
    return this.#words[this.#at + Field.lastStep]!;
  }

  /** Tokens that it computed. */
  get lastQueryLen(): number {
    return this.#words[this.#at + Field.lastQueryLen]!;
  }

  /** When it gained tokens last: NaN before the first. Milliseconds on the engine's clock. */
  get lastToken(): number {
    return this.#rows === null ? this.#lastToken : this.#rows.lastToken[this.#row]!;
  }

  set lastToken(time: number) {
    if (this.#rows === null) this.#lastToken = time;
    else this.#rows.lastToken[this.#row] = time;
  }

  /** Whether it runs first of the two. */
  comesBefore({ rank, arrival }: Request): boolean {
    return this.rank < rank || (this.rank === rank && this.arrival < arrival);
  }

  get virtualTokens(): number {
    return this.numTokens + this.numPlaceholders;
  }

  /** Each step of it computes its last token and samples the next, and does nothing else, once its prompt is computed. */
  get onlyDecodes(): boolean {
    return !this.needsHost && !this.hasHostWork && this.pools === null && this.params.logprobs === null;
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
    if (this.#numKept < this.numTokens) this.keepTokens();
    return this.#tokens;
  }

  /** Takes over the recent tokens of its row: before RECENT_TOKENS more are there. */
  keepTokens(): void {
    const { numTokens } = this;
    this.#reserve(numTokens);
    const first = this.#row * RECENT_TOKENS;
    for (let i = this.#numKept; i < numTokens; i++) {
      this.#tokens[i] = this.#rows!.recent[first + (i % RECENT_TOKENS)]!;
    }
    this.#numKept = numTokens;
  }

  /** Goes on in a row of the device, which nobody holds. */
  takeRow(rows: RunningRows, row: number): void {
    rows.take(row);
    rows.words.set(this.#words, row * RECORD_WORDS);
    rows.lastToken[row] = this.#lastToken;
    this.#rows = rows;
    this.#row = row;
    this.#words = rows.words;
    this.#at = row * RECORD_WORDS;
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
    const { numTokens } = this;
    this.keepTokens();
    this.#reserve(numTokens + 1);
    this.#tokens[numTokens] = token;
    this.#setLength(numTokens + 1);
  }

  #setLength(numTokens: number): void {
    this.#numKept = numTokens;
    this.#words[this.#at + Field.numTokens] = numTokens;
  }

  /** Puts tokens behind the known ones that may turn out to follow them. */
  setDrafts(drafts: Uint32Array): void {
    this.keepTokens();
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
    this.#setLength(this.numPromptTokens);
    for (const token of tokens) this.append(token);
  }

  /** How many of the first `most` tokens are those of another request. */
  commonPrefix(other: Request, most: number): number {
    const end = Math.min(most, this.numTokens, other.numTokens);
    const [own, others] = [this.tokens, other.tokens];
    let length = 0;
    while (length < end && own[length] === others[length]) length++;
    return length;
  }

  /** Takes over the tokens of another sequence of the same prompt, all but those that follow its first `length`. */
  copyTokens(from: Request, length: number): void {
    this.#reserve(length);
    this.#tokens.set(from.tokens.subarray(0, length));
    this.#setLength(length);
  }

  #reserve(length: number): void {
    if (length <= this.#tokens.length) return;
    const grown = new Uint32Array(Math.min(this.tokenLimit, Math.max(length, 2 * this.#tokens.length)));
    grown.set(this.#tokens);
    this.#tokens = grown;
  }

  /** A copy of the output tokens from the index-th on. */
  outputTokens(index = 0): number[] {
    return Array.from(this.tokens.subarray(this.numPromptTokens + index, this.numTokens));
  }

  /** From now on it only decodes. `listener`: told of its tokens where nothing else is done with them; else null. */
  decode(listener: Listener | null): void {
    this.#words[this.#at + Field.decodes] = 1;
    this.#rows!.listeners[this.#row] = listener;
  }

  /** A step will compute `queryLen` tokens of it, and then sample `appends`. Its blocks hold `capacity`. */
  scheduled(step: number, queryLen: number, appends: number, capacity: number): void {
    const numComputed = this.numComputed + queryLen;
    this.numComputed = numComputed;
    this.numPlaceholders += appends;
    this.#words[this.#at + Field.lastStep] = step;
    this.#words[this.#at + Field.lastQueryLen] = queryLen;
    const goesOn = this.#words[this.#at + Field.decodes] === 1 && numComputed + 1 === this.virtualTokens;
    this.#words[this.#at + Field.decodesUntil] = goesOn ? Math.min(capacity, this.tokenLimit - 1) : 0;
  }

  /** Gives its row up, and forgets everything that was computed or is in flight; the tokens stay. */
  resetComputed(): void {
    const { lastToken } = this;
    this.keepTokens();
    this.#words = this.#words.slice(this.#at, this.#at + RECORD_WORDS);
    this.#at = 0;
    for (const field of FORGOTTEN) this.#words[field] = 0;
    this.#rows?.release(this.#row);
    this.#rows = null;
    this.#row = NO_ROW;
    this.#lastToken = lastToken;
    this.generation++;
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
