import type { ExecutorLimits } from '../worker/types.ts';
import { AdapterSlots } from './adapter-slots.ts';
import type { Adapter } from './adapters.ts';
import { type BlockManager, NO_ROOM, type TableStart } from './block-manager.ts';
import { checkFits, fitsCache } from './check-fits.ts';
import { DecodeScheduler } from './decode-scheduler.ts';
import { DraftScheduler } from './draft-scheduler.ts';
import type { HostTier } from './host-tier.ts';
import { NO_ROW, NO_SLOT, type Request } from './request.ts';
import { RequestQueue } from './request-queue.ts';
import { RunningList } from './running-list.ts';
import { Field, NEVER, RECORD_WORDS, RunningRows } from './running-rows.ts';
import { SchedulerCounters } from './scheduler-counters.ts';
import type { Speculator } from './speculator.ts';
import { newRow, StepBatch } from './step-batch.ts';
import { StepRepeater } from './step-repeater.ts';
import { Suspects } from './suspects.ts';
import { TableStarts } from './table-starts.ts';

export interface SchedulerOptions {
  limits: ExecutorLimits;
  blocks: BlockManager;
  enableChunkedPrefill: boolean;
  /** Most tokens of one request in a step; 0: no bound. */
  longPrefillTokenThreshold?: number;
  /** Submits in flight at most. */
  runAhead: number;
  /** Most repeats of one submit. */
  numSchedulerSteps: number;
  /** Share of the blocks that an admission leaves free while others run, against preemption soon after. Default 0. */
  watermark?: number;
  /** Where blocks go that leave the device, and come from. */
  hostTier?: HostTier | null;
  /** Guesses tokens ahead, for requests that speculate. */
  speculator?: Speculator | null;
}

/** Requests that may begin with adapters that are there while one waits for room for its own: batches stay full, and nobody starves. */
const MAX_TIMES_PASSED = 64;

/**
 * Decides what each step computes: every request's numComputed is raised towards its length under one budget of tokens and
 * one of samples, running requests first, then waiting ones, each in the order of their rank.
 *
 * It never waits for results: a decode is scheduled again while its last token is still in flight, unless the request needs the
 * host between two tokens. When the pool is full, the running request of the highest rank gives its blocks back and is computed
 * again later, from the tokens that the host knows. Tokens that it had in flight are dropped with it: nobody has seen them, and
 * noise depends only on seed and position.
 *
 * Completions of one prompt share its blocks: the first computes it, the others follow and begin with a fork of its table.
 */
export class Scheduler {
  readonly blocks: BlockManager;
  readonly hostTier: HostTier | null;
  readonly rows: RunningRows;
  readonly waiting = new RequestQueue();
  readonly suspects = new Suspects();
  readonly speculator: Speculator | null;
  counters = new SchedulerCounters();
  readonly #running: RunningList;
  readonly #decodes: DecodeScheduler;
  readonly #limits: ExecutorLimits;
  readonly #chunks: boolean;
  readonly #longestChunk: number;
  readonly #repeater: StepRepeater;
  readonly #starts: TableStarts;
  readonly #watermarkBlocks: number;
  readonly #freeRows: number[];
  /** null: nothing is guessed. */
  readonly #drafts: DraftScheduler | null;
  readonly #adapters: AdapterSlots;
  readonly #spare: StepBatch[] = [];
  /** Requests whose prompt is computed and whose followers may start with the next step. */
  #leaders: Request[] = [];
  #step = 0;
  /** `decodedVersion` of the last batch. */
  #lastDecoded = -1;
  #tokenBudget = 0;
  #sampleBudget = 0;
  /** The last schedule left somebody without blocks. */
  #lacksBlocks = false;

  constructor(options: SchedulerOptions) {
    this.blocks = options.blocks;
    this.#limits = options.limits;
    this.#chunks = options.enableChunkedPrefill;
    this.#longestChunk = options.longPrefillTokenThreshold || Number.POSITIVE_INFINITY;
    const maxRepeats = Math.min(options.numSchedulerSteps, Math.floor(options.limits.ringSlots / options.runAhead));
    this.rows = new RunningRows(options.limits.maxNumSeqs);
    this.#running = new RunningList(options.limits.maxNumSeqs);
    this.#decodes = new DecodeScheduler(options.blocks, this.rows, this.#running);
    this.#repeater = new StepRepeater(options.blocks, this.rows, maxRepeats);
    this.hostTier = options.hostTier ?? null;
    this.#starts = new TableStarts(options.blocks, this.hostTier);
    this.#watermarkBlocks = Math.floor((options.watermark ?? 0) * options.limits.numBlocks);
    this.#freeRows = Array.from({ length: options.limits.maxNumSeqs }, (_, i) => options.limits.maxNumSeqs - 1 - i);
    this.#adapters = new AdapterSlots(options.limits.numAdapterSlots ?? 0);
    this.speculator = options.speculator ?? null;
    this.#drafts = this.speculator && new DraftScheduler(this.speculator, this.blocks, this.#freeRows);
  }

  /** In the order of their rank. */
  get running(): readonly Request[] {
    return this.#running.requests;
  }

  /** Rows that neither a request holds nor a draft. */
  get numFreeRows(): number {
    return this.#freeRows.length;
  }

  /** Rows that further requests will take at once: none where blocks are what is missing. */
  get numPlaces(): number {
    return this.#lacksBlocks ? 0 : this.#limits.maxNumSeqs - this.running.length;
  }

  /** Queues a request. Throws InvalidRequestError when it could not run even alone. */
  add(request: Request): void {
    checkFits(this.blocks, request.numPromptTokens, request.params.maxTokens);
    this.waiting.insert(request);
  }

  /** Ends a request wherever it is, once. `discard`: what it computed must not be used by others. */
  finish(request: Request, discard: boolean): void {
    if (request.status === 'finished') return;
    this.withdraw(request, discard);
    request.status = 'finished';
    this.suspects.acquit(request);
    this.#admitFollowers(request);
  }

  /** Puts everything back into the queue, as if nothing of it had been computed: what the device holds is of no use. */
  evacuate(): void {
    this.hostTier?.drop();
    for (const request of this.#running.removeAll()) {
      this.#release(request, false);
      request.status = 'preempted';
      this.waiting.insert(request);
    }
  }

  /** Takes over the queue and the counters of a scheduler that was evacuated. Returns requests that do not fit any more. */
  adopt(other: Scheduler): Request[] {
    this.counters = other.counters;
    this.suspects.adopt(other.suspects);
    const requests = [...other.waiting];
    for (const request of requests) {
      other.waiting.remove(request);
      this.waiting.insert(request);
    }
    return requests.filter(({ numPromptTokens, params }) => !fitsCache(this.blocks, numPromptTokens, params.maxTokens));
  }

  /** Takes a request out of the schedule, and what it holds from it. `requeue` brings it back. */
  withdraw(request: Request, discard = false): void {
    if (request.status === 'running') {
      this.#running.remove(request);
      this.#release(request, discard);
    } else if (request.isQueued) {
      this.waiting.remove(request);
    }
    request.status = 'waiting';
  }

  /** Queues a request that is not in the schedule. */
  requeue(request: Request): void {
    this.waiting.insert(request);
  }

  /** Has drafts made for the requests that decode in the next step, where that takes the device. null: none have to be made. */
  prepareDrafts(): Promise<void> | null {
    if (this.#drafts === null || this.waiting.length > 0) return null;
    return this.#drafts.prepare(this.running, this.suspects);
  }

  /** Forgets all cached prefixes; running requests keep what they have. */
  resetPrefixCache(): void {
    this.blocks.resetPrefixCache();
    this.speculator?.resetPrefixCache?.();
  }

  /**
   * The next submit, or null when nothing can be scheduled before a result arrives. stepsInFlight: repeats of all submits whose
   * results are outstanding. Give the batch back with `recycle` when its result has been read.
   */
  schedule(stepsInFlight: number): StepBatch | null {
    const batch = this.#spare.pop() ?? new StepBatch(this.rows);
    batch.clear();
    this.#step++;
    for (const request of this.hostTier?.poll() ?? []) this.#giveUpLoad(request);
    for (const leader of this.#leaders.splice(0)) this.#admitFollowers(leader);
    // Who waits comes before guesses.
    if (this.waiting.length > 0) this.#drafts?.releaseRows();
    this.#tokenBudget = this.#limits.maxNumBatchedTokens;
    this.#sampleBudget = this.#limits.maxSamples;
    const preempted = this.#scheduleRunning(batch);
    this.#lacksBlocks = preempted;
    if (!preempted) this.#scheduleWaiting(batch);
    while (batch.numSequences === 0 && stepsInFlight === 0 && this.#preemptIdle()) this.#scheduleWaiting(batch);
    this.hostTier?.saveNext();
    if (batch.numSequences === 0) {
      batch.seal();
      this.recycle(batch);
      return null;
    }
    // A repeated step would keep who waits waiting.
    if (this.waiting.length === 0) this.#repeater.repeat(batch, this.#limits.ringSlots - stepsInFlight);
    batch.copies = this.blocks.takeCopies();
    batch.zeroBlocks = this.blocks.takeZeroBlocks();
    batch.adapterLoads = this.#adapters.takeLoads();
    batch.seal();
    batch.isRepeat = batch.decodedVersion >= 0 && batch.decodedVersion === this.#lastDecoded;
    this.#lastDecoded = batch.decodedVersion;
    return batch;
  }

  recycle(batch: StepBatch): void {
    this.#spare.push(batch);
  }

  /** The drafts of a request that was checked held as far as its tokens are known now. */
  accept(request: Request, numAccepted: number): void {
    this.counters.acceptedTokens += numAccepted;
    const { acceptedPerPosition } = this.counters;
    for (let i = 0; i < numAccepted; i++) acceptedPerPosition[i] = (acceptedPerPosition[i] ?? 0) + 1;
    request.numComputed += numAccepted;
    // Its row sampled one token; the others come from the rows of the drafts.
    if (numAccepted > 0) request.editStart = request.numTokens - numAccepted;
  }

  /** Adds sampled tokens whose ids are now known to the prefix cache, where they fill a block. */
  registerKnown(request: Request): void {
    const { table } = request;
    const known = Math.min(request.numTokens, request.numComputed);
    // Asked of every sequence in every step: most have filled no block.
    if (known >= (table.numCached + 1) * this.blocks.blockSize) this.blocks.register(table, request.tokens, known);
    if (request.row === NO_ROW) return;
    const next = this.blocks.cache === null ? NEVER : (table.numCached + 1) * this.blocks.blockSize;
    this.rows.words[request.row * RECORD_WORDS + Field.cachesAt] = next;
  }

  /** Returns whether any request was preempted. */
  #scheduleRunning(batch: StepBatch): boolean {
    let preempted = false;
    const running = this.#running.requests;
    for (let i = this.#addDecodes(batch); i < running.length && this.#tokenBudget > 0; i++) {
      const request = running[i]!;
      const queryLen = this.#queryLen(request);
      if (queryLen === 0 || !this.suspects.lets(request)) continue;
      let grantStart = this.blocks.grow(request.table, request.numComputed + queryLen);
      while (grantStart === NO_ROOM) {
        preempted = true;
        // Blocks on their way to the host will be free soon; those of a further victim would not be so sooner.
        if (this.hostTier?.isSaving) break;
        const at = this.#victim();
        const victim = this.#running.removeAt(at);
        this.#preempt(victim);
        if (victim === request) return true;
        if (at < i) i--;
        grantStart = this.blocks.grow(request.table, request.numComputed + queryLen);
      }
      if (grantStart !== NO_ROOM) this.#addToBatch(batch, request, queryLen, grantStart);
    }
    return preempted;
  }

  /** Adds those that go on as before, up to the first of which there is more to decide. Returns how many they are. */
  #addDecodes(batch: StepBatch): number {
    if (this.suspects.size > 0) return 0;
    const count = this.#decodes.add(batch, Math.min(this.#tokenBudget, this.#sampleBudget), this.#step);
    this.#tokenBudget -= count;
    this.#sampleBudget -= count;
    return count;
  }

  /** The newest comes last, so no victim has been scheduled in this step; unless there is one that may not run now anyway. */
  #victim(): number {
    const idle = this.suspects.size === 0 ? -1 : this.running.findLastIndex(request => !this.suspects.lets(request));
    return idle < 0 ? this.running.length - 1 : idle;
  }

  #scheduleWaiting(batch: StepBatch): void {
    let next: Request | null;
    let passed: Request | null = null;
    for (let request = this.waiting.first; request !== null; request = next) {
      next = request.after;
      if (this.#tokenBudget === 0 || this.#freeRows.length === 0) return;
      if (request.waitsForHost || !this.suspects.lets(request)) continue;
      if (request.adapter !== null && !this.#hasRoomFor(request.adapter, passed)) {
        passed ??= request;
        continue;
      }
      if (!this.#admit(batch, request)) return;
      if (passed !== null && request.adapter !== null) passed.timesPassed++;
    }
  }

  /** `passed`: who waits for room already. It is not passed for ever by requests whose adapters are there. */
  #hasRoomFor(adapter: Adapter, passed: Request | null): boolean {
    return (passed?.timesPassed ?? 0) < MAX_TIMES_PASSED && this.#adapters.hasRoomFor(adapter);
  }

  /** Gives a waiting request its blocks, a row and its first tokens to compute. Returns false when it has to wait. */
  #admit(batch: StepBatch, request: Request): boolean {
    const start = this.#starts.find(request, this.#step);
    const slots = this.#starts.findHost(request, start);
    if (slots.length > 0) return this.#admitLoading(request, start, slots);
    request.numComputed = start.numTokens;
    const queryLen = this.#queryLen(request);
    const end = request.numComputed + queryLen;
    const mayStart = queryLen > 0 && (this.#chunks || end === request.numTokens || request.wantsPromptLogprobs);
    if (!mayStart || !this.#takeBlocks(request, start, end)) {
      request.numComputed = 0;
      return false;
    }
    this.#takeRow(request);
    this.#addToBatch(batch, request, queryLen, 0);
    return true;
  }

  /** The same for a request whose next blocks lie in host memory: it holds its row and waits for them. */
  #admitLoading(request: Request, start: TableStart, slots: number[]): boolean {
    const first = start.blocks.length;
    const end = start.numTokens + slots.length * this.blocks.blockSize;
    if (!this.#takeBlocks(request, start, end)) return false;
    request.numComputed = end;
    this.#takeRow(request);
    this.hostTier!.load(request, first, slots);
    return true;
  }

  #takeBlocks(request: Request, start: TableStart, end: number): boolean {
    const watermark = this.running.length === 0 ? 0 : this.#watermarkBlocks;
    const areThere = this.blocks.admit(request.table, start, end, request.numTokens, watermark);
    if (!areThere) this.#lacksBlocks = true;
    return areThere;
  }

  #takeRow(request: Request): void {
    this.waiting.remove(request);
    request.takeRow(this.rows, this.#freeRows.pop()!);
    this.#running.insert(request);
    this.#countHit(request);
    request.status = 'running';
    request.isRowNew = true;
    request.firstStep = this.#step;
    request.timesPassed = 0;
    if (request.adapter !== null) request.adapterSlot = this.#adapters.take(request.adapter);
  }

  #giveUpLoad(request: Request): void {
    this.#running.remove(request);
    this.#release(request, false);
    request.status = 'preempted';
    this.waiting.insert(request);
  }

  #admitFollowers(leader: Request): void {
    const { followers } = leader;
    leader.followers = [];
    for (const follower of followers) if (follower.status !== 'finished') this.waiting.insert(follower);
  }

  #countHit(request: Request): void {
    if (request.numCachedTokens >= 0) return;
    request.numCachedTokens = request.numComputed;
    if (this.blocks.cache === null) return;
    this.counters.prefixCacheQueries += request.numTokens;
    this.counters.prefixCacheHits += request.numComputed;
  }

  /** Tokens that a request may compute now; 0 when its last token is in flight, the host must act, or no budget is left for it. */
  #queryLen(request: Request): number {
    const length = request.virtualTokens;
    if (length >= request.tokenLimit || request.waitsForHost) return 0;
    const missing = length - request.numComputed;
    const queryLen = Math.min(missing, this.#tokenBudget, this.#longestChunk);
    if (request.wantsPromptLogprobs) return Math.min(queryLen, this.#sampleBudget);
    return queryLen === missing && this.#sampleBudget === 0 ? queryLen - 1 : queryLen;
  }

  #addToBatch(batch: StepBatch, request: Request, queryLen: number, grantStart: number): void {
    const appends = request.numComputed + queryLen === request.virtualTokens ? 1 : 0;
    const sampleCount = request.wantsPromptLogprobs ? queryLen : request.pools === null ? appends : 0;
    if (request.isRowNew) batch.newRows.push(newRow(request));
    batch.add(request, queryLen, sampleCount, appends, request.isRowNew ? 0 : grantStart);
    request.isRowNew = false;
    this.#tokenBudget -= queryLen;
    this.#sampleBudget -= sampleCount;
    request.scheduled(this.#step, queryLen, appends, request.table.length * this.blocks.blockSize);
    // A decode step computes one token, which is registered with what it samples.
    if (queryLen > 1) this.registerKnown(request);
    if (appends === 1 && queryLen === 1 && request.speculates) this.#addDrafts(batch, request);
    if (request.followers.length > 0 && request.numComputed >= request.numPromptTokens) this.#leaders.push(request);
  }

  /** Checks guesses at the tokens after the one that the request samples. */
  #addDrafts(batch: StepBatch, request: Request): void {
    if (this.#drafts === null || this.waiting.length > 0) return;
    const count = this.#drafts.add(batch, request, Math.min(this.#tokenBudget, this.#sampleBudget));
    if (count === 0) return;
    this.#tokenBudget -= count;
    this.#sampleBudget -= count;
    this.counters.draftTokens += count;
    this.counters.numDrafts++;
  }

  #preempt(request: Request): void {
    this.counters.preemptions++;
    this.hostTier?.saveTable(request.table);
    this.#release(request, false);
    request.status = 'preempted';
    this.waiting.insert(request);
  }

  /** When nothing else is left to run, who runs but may not now makes room for who waits for blocks. */
  #preemptIdle(): boolean {
    const mayRun = (request: Request) => !request.waitsForHost && this.suspects.lets(request);
    const victim = this.running.findLast(request => !mayRun(request) && !request.isLoading);
    if (victim === undefined) return false;
    // Who waits for the host goes on soon: its adapter's slot, which is filled anew for each adapter, is not taken from it.
    const mayTake = ({ adapter }: Request) =>
      adapter === null || !this.suspects.lets(victim) || this.#adapters.hasRoomFor(adapter);
    if (![...this.waiting].some(request => mayRun(request) && mayTake(request))) return false;
    this.#running.remove(victim);
    this.#preempt(victim);
    return true;
  }

  #release(request: Request, discard: boolean): void {
    if (discard) this.blocks.discard(request.table);
    else this.blocks.free(request.table);
    this.#freeRows.push(request.row);
    if (request.adapterSlot !== NO_SLOT) this.#adapters.release(request.adapterSlot);
    request.adapterSlot = NO_SLOT;
    this.#drafts?.release(request);
    request.resetComputed();
  }
}
