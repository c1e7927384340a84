import { EngineError, InvalidRequestError } from '../errors.ts';
import type { ExecutorLimits } from '../worker/types.ts';
import { type BlockManager, NO_ROOM } from './block-manager.ts';
import type { Request } from './request.ts';
import { RequestQueue } from './request-queue.ts';
import { newRow, StepBatch } from './step-batch.ts';

export interface SchedulerOptions {
  limits: ExecutorLimits;
  blocks: BlockManager;
  enableChunkedPrefill: boolean;
  /** Submits in flight at most. */
  runAhead: number;
  /** Most repeats of one submit. */
  numSchedulerSteps: number;
}

export interface SchedulerCounters {
  preemptions: number;
  /** Tokens looked up in the prefix cache, and found there, by requests that ran for the first time. */
  prefixCacheQueries: number;
  prefixCacheHits: number;
}

/**
 * Decides what each step computes: every request's numComputed is raised towards its length under one budget of tokens and
 * one of samples, running requests first in order of admission, then waiting ones in order of arrival.
 *
 * It never waits for results: a decode is scheduled again while its last token is still in flight. When the pool is full, the
 * request admitted last gives its blocks back and is computed again later, from the tokens that the host knows. Tokens that it
 * had in flight are dropped with it: nobody has seen them, and noise depends only on seed and position.
 */
export class Scheduler {
  readonly blocks: BlockManager;
  readonly running: Request[] = [];
  readonly waiting = new RequestQueue();
  readonly counters: SchedulerCounters = { preemptions: 0, prefixCacheQueries: 0, prefixCacheHits: 0 };
  readonly #limits: ExecutorLimits;
  readonly #chunks: boolean;
  readonly #maxRepeats: number;
  readonly #freeRows: number[];
  readonly #spare: StepBatch[] = [];
  #tokenBudget = 0;
  #sampleBudget = 0;

  constructor(options: SchedulerOptions) {
    this.blocks = options.blocks;
    this.#limits = options.limits;
    this.#chunks = options.enableChunkedPrefill;
    this.#maxRepeats = Math.min(options.numSchedulerSteps, Math.floor(options.limits.ringSlots / options.runAhead));
    this.#freeRows = Array.from({ length: options.limits.maxNumSeqs }, (_, i) => options.limits.maxNumSeqs - 1 - i);
  }

  /** Queues a request. Throws InvalidRequestError when it could not run even alone. */
  add(request: Request): void {
    this.checkFits(request.numPromptTokens, request.params.maxTokens);
    this.waiting.append(request);
  }

  /** Throws InvalidRequestError, with numbers, when the KV cache could never hold such a request. */
  checkFits(promptTokens: number, maxTokens: number): void {
    const { blocks } = this;
    // The last token is sampled, never computed.
    const needed = blocks.blocksFor(promptTokens + maxTokens - 1);
    const available = blocks.numBlocks - 1;
    if (needed <= available) return;
    const param = blocks.blocksFor(promptTokens) > available ? 'prompt' : 'max_tokens';
    throw new InvalidRequestError(
      `The request needs ${needed} KV blocks (${promptTokens} prompt tokens, up to ${maxTokens} output tokens, ` +
        `${blocks.blockSize} tokens per block), the cache has ${available}. Shorten the prompt or lower max_tokens.`,
      param,
    );
  }

  /** Ends a request wherever it is, once. `discard`: what it computed must not be used by others. */
  finish(request: Request, discard: boolean): void {
    if (request.status === 'finished') return;
    if (request.status === 'running') {
      this.running.splice(this.running.indexOf(request), 1);
      this.#release(request, discard);
    } else {
      this.waiting.remove(request);
    }
    request.status = 'finished';
  }

  /**
   * The next submit, or null when nothing can be scheduled before a result arrives. stepsInFlight: repeats of all submits whose
   * results are outstanding. Give the batch back with `recycle` when its result has been read.
   */
  schedule(stepsInFlight: number): StepBatch | null {
    const batch = this.#spare.pop() ?? new StepBatch(this.#limits.maxNumSeqs);
    batch.clear();
    this.#tokenBudget = this.#limits.maxNumBatchedTokens;
    this.#sampleBudget = this.#limits.maxSamples;
    const preempted = this.#scheduleRunning(batch);
    if (!preempted) this.#scheduleWaiting(batch);
    if (batch.numSequences === 0) {
      this.recycle(batch);
      return null;
    }
    this.#repeat(batch, stepsInFlight);
    batch.copies = this.blocks.takeCopies();
    batch.zeroBlocks = this.blocks.takeZeroBlocks();
    batch.seal();
    return batch;
  }

  recycle(batch: StepBatch): void {
    this.#spare.push(batch);
  }

  /** Adds sampled tokens whose ids are now known to the prefix cache, where they fill a block. */
  registerKnown(request: Request): void {
    this.blocks.register(request.table, request.tokens, Math.min(request.numTokens, request.numComputed));
  }

  /** Returns whether any request was preempted. */
  #scheduleRunning(batch: StepBatch): boolean {
    let preempted = false;
    for (let i = 0; i < this.running.length && this.#tokenBudget > 0; i++) {
      const request = this.running[i]!;
      const queryLen = this.#queryLen(request);
      if (queryLen === 0) continue;
      let grantStart = this.blocks.grow(request.table, request.numComputed, request.numComputed + queryLen);
      while (grantStart === NO_ROOM) {
        preempted = true;
        // The newest comes last, so no victim has been scheduled in this step.
        const victim = this.running.pop()!;
        this.#preempt(victim);
        if (victim === request) return true;
        grantStart = this.blocks.grow(request.table, request.numComputed, request.numComputed + queryLen);
      }
      this.#addToBatch(batch, request, queryLen, grantStart);
    }
    return preempted;
  }

  #scheduleWaiting(batch: StepBatch): void {
    for (let request = this.waiting.first; request !== null; request = this.waiting.first) {
      if (this.#tokenBudget === 0 || this.#freeRows.length === 0) return;
      if (!this.#admit(batch, request)) return;
    }
  }

  /** Gives a waiting request its blocks, a row and its first tokens to compute. Returns false when it has to wait. */
  #admit(batch: StepBatch, request: Request): boolean {
    // At least one token must be computed, for its logits; prompt log-probabilities need all of them.
    const reusable = request.wantsPromptLogprobs ? 0 : request.numTokens - 1;
    const hit = this.blocks.lookup(request.tokens, reusable, request.table.salt);
    request.numComputed = hit.blocks.length * this.blocks.blockSize;
    const queryLen = this.#queryLen(request);
    const isWhole = request.numComputed + queryLen === request.numTokens;
    const mayStart = queryLen > 0 && (this.#chunks || isWhole || request.wantsPromptLogprobs);
    if (!mayStart || !this.blocks.admit(request.table, hit, request.numComputed + queryLen, request.numTokens)) {
      request.numComputed = 0;
      return false;
    }
    this.waiting.remove(request);
    this.running.push(request);
    this.#countHit(request);
    request.status = 'running';
    request.row = this.#freeRows.pop()!;
    batch.newRows.push(newRow(request));
    this.#addToBatch(batch, request, queryLen, 0);
    return true;
  }

  #countHit(request: Request): void {
    if (request.numCachedTokens >= 0) return;
    request.numCachedTokens = request.numComputed;
    if (this.blocks.cache === null) return;
    this.counters.prefixCacheQueries += request.numTokens;
    this.counters.prefixCacheHits += request.numComputed;
  }

  /** Tokens that a request may compute now; 0 when its last token is in flight or no budget is left for it. */
  #queryLen(request: Request): number {
    const length = request.virtualTokens;
    if (length >= request.tokenLimit) return 0;
    const missing = length - request.numComputed;
    const queryLen = Math.min(missing, this.#tokenBudget);
    if (request.wantsPromptLogprobs) return Math.min(queryLen, this.#sampleBudget);
    return queryLen === missing && this.#sampleBudget === 0 ? queryLen - 1 : queryLen;
  }

  #addToBatch(batch: StepBatch, request: Request, queryLen: number, grantStart: number): void {
    const appends = request.numComputed + queryLen === request.virtualTokens ? 1 : 0;
    const sampleCount = request.wantsPromptLogprobs ? queryLen : appends;
    batch.add(request, queryLen, sampleCount, appends, grantStart);
    this.#tokenBudget -= queryLen;
    this.#sampleBudget -= sampleCount;
    request.numComputed += queryLen;
    request.numPlaceholders += appends;
    // A decode step computes one token, which is registered with what it samples.
    if (queryLen > 1) this.registerKnown(request);
  }

  /** Repeats the step on the device when every sequence decodes and nobody would be kept waiting. */
  #repeat(batch: StepBatch, stepsInFlight: number): void {
    const onlyDecodes = batch.numDecodeSequences === batch.numSequences;
    if (
      this.#maxRepeats === 1 ||
      !onlyDecodes ||
      batch.needsHost ||
      batch.newRows.length > 0 ||
      this.waiting.length > 0
    )
      return;
    let longest = 0;
    for (let i = 0; i < batch.numSequences; i++) longest = Math.max(longest, this.#repeatsLeft(batch.request(i)));
    let times = Math.min(this.#maxRepeats, this.#limits.ringSlots - stepsInFlight, longest);
    while (times > 1 && this.#blocksToRepeat(batch, times) > this.blocks.numFreeBlocks) times >>= 1;
    if (times <= 1) return;
    batch.times = times;
    for (let i = 0; i < batch.numSequences; i++) this.#extend(batch, i, times);
  }

  /** Steps that a request, its placeholder of this step counted, could sample in a row. */
  #repeatsLeft(request: Request): number {
    return request.tokenLimit - request.virtualTokens + 1;
  }

  #blocksToRepeat(batch: StepBatch, times: number): number {
    let blocks = 0;
    for (let i = 0; i < batch.numSequences; i++) {
      const request = batch.request(i);
      const more = Math.min(times, this.#repeatsLeft(request)) - 1;
      blocks += Math.max(0, this.blocks.blocksFor(request.numComputed + more) - request.table.length);
    }
    return blocks;
  }

  #extend(batch: StepBatch, i: number, times: number): void {
    const request = batch.request(i);
    const appends = Math.min(times, this.#repeatsLeft(request));
    const end = request.numComputed + appends - 1;
    const grantStart = this.blocks.grow(request.table, request.numComputed, end);
    if (grantStart === NO_ROOM) throw new EngineError('Scheduler: blocks that were counted as free are not there.');
    batch.extend(i, appends, grantStart);
    request.numComputed = end;
    request.numPlaceholders += appends - 1;
  }

  #preempt(request: Request): void {
    this.counters.preemptions++;
    this.#release(request, false);
    request.status = 'preempted';
    this.waiting.prepend(request);
  }

  #release(request: Request, discard: boolean): void {
    if (discard) this.blocks.discard(request.table);
    else this.blocks.free(request.table);
    this.#freeRows.push(request.row);
    request.resetComputed();
  }
}
