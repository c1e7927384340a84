import { EngineClosedError, EngineError } from '../errors.ts';
import type { SamplingParams } from '../sampling/sampling-params.ts';
import type { GrammarService } from '../structured-output/grammar-service.ts';
import type { Tokenizer } from '../tokenizer/types.ts';
import type { ExecutorLimits, StepResult } from '../worker/types.ts';
import { AdapterRegistry, adapterNames } from './adapters.ts';
import { createGroup } from './create-group.ts';
import { createScheduler } from './create-scheduler.ts';
import type { AddOptions, LLMEngineOptions } from './engine-options.ts';
import type { EngineStats } from './engine-stats.ts';
import { ExecutorHost, type InFlight } from './executor-host.ts';
import { GrammarGate } from './grammar-gate.ts';
import type { RequestGroup, SequenceOutput } from './output-processor.ts';
import type { SequenceEnd } from './outputs.ts';
import type { PromptInput } from './prompt.ts';
import { checkQueue, checkQueuedTokens } from './queue-limits.ts';
import { isDeviceLost } from './recovery.ts';
import { message, RequestRegistry } from './request-registry.ts';
import { type ResolvedRequest, resolveRequest } from './resolve-request.ts';
import { checkResume, resumeGroup } from './resume.ts';
import type { Scheduler } from './scheduler.ts';
import type { StepBatch } from './step-batch.ts';
import { StepReporter } from './step-reporter.ts';
import { StepResults } from './step-results.ts';
import { traceStep } from './step-trace.ts';

/**
 * Requests in, tokens out. `step` keeps up to runAhead submits in flight, reads the oldest result, and gives every request its
 * tokens: schedule -> submit -> read -> update. An error of one request ends that request.
 */
export class LLMEngine {
  readonly tokenizer: Tokenizer | null;
  readonly host: ExecutorHost;
  /** Replaced with the executor. */
  scheduler: Scheduler;
  readonly #options: LLMEngineOptions;
  readonly #eos: ReadonlySet<number>;
  readonly #clock: () => number;
  readonly #reporter: StepReporter;
  readonly #requests: RequestRegistry;
  readonly #gate: GrammarGate;
  readonly #results: StepResults;
  readonly adapters: AdapterRegistry;
  #numSequences = 0;
  readonly #counters = { promptTokens: 0, cachedPromptTokens: 0, generationTokens: 0, numSteps: 0 };
  #lastProgress: number;
  #closed: Error | null = null;

  constructor(options: LLMEngineOptions) {
    const { executor, config } = options;
    this.#options = options;
    this.host = new ExecutorHost(executor, options.reopen ?? null);
    this.tokenizer = options.tokenizer;
    this.#eos = new Set(options.eosTokenIds);
    this.#clock = options.clock ?? (() => performance.now());
    this.#lastProgress = this.#clock();
    this.#reporter = new StepReporter(options.observer ?? {});
    this.#requests = new RequestRegistry({
      release: (request, discard) => this.scheduler.finish(request, discard),
      finished: group => this.#reporter.finished(group),
      clock: this.#clock,
    });
    this.adapters = new AdapterRegistry(options.loadAdapter ?? null, config.maxCpuLoras ?? null);
    this.#gate = this.#createGate(options.grammars ?? null);
    this.#results = new StepResults({
      eos: this.#eos,
      vocabSize: executor.limits.vocabSize,
      requests: this.#requests,
      gate: this.#gate,
      reporter: this.#reporter,
    });
    this.scheduler = createScheduler(executor, config, blockOptions(options));
  }

  get limits(): ExecutorLimits {
    return this.host.limits;
  }

  /** It was disposed or has failed, and takes no more requests. */
  get closed(): boolean {
    return this.#closed !== null;
  }

  get hasUnfinished(): boolean {
    return this.#requests.size > 0;
  }

  /**
   * Queues a request. Throws QueueFullError before it looks at it when too much waits, InvalidRequestError when it cannot be served
   * as asked, EngineClosedError after dispose or a failure of the executor.
   */
  add(input: PromptInput, params: SamplingParams = {}, options: AddOptions = {}): RequestGroup {
    if (this.#closed !== null) throw this.#closed;
    this.checkQueue();
    const { tokenizer, limits } = this;
    const { eosTokenIds, generationConfig = null } = this.#options;
    const { schedulingPolicy } = this.#options.config;
    const context = { limits, tokenizer, generationConfig, eosTokenIds, schedulingPolicy };
    return this.enqueue(resolveRequest(input, params, context), options);
  }

  /** Queues a request that was checked against this engine's limits before, by `resolveRequest`. Throws as `add` does. */
  enqueue({ prompt, params }: ResolvedRequest, options: AddOptions = {}): RequestGroup {
    if (this.#closed !== null) throw this.#closed;
    const { number = this.#numSequences, resume, loraRequest = null } = options;
    const adapter = loraRequest === null ? null : this.adapters.get(loraRequest.loraName);
    checkQueuedTokens(this.scheduler.waiting, this.#options.config, prompt.tokenIds.length);
    if (resume !== undefined) checkResume(resume, params, this.limits.vocabSize);
    const group = createGroup({
      id: options.requestId ?? String(number),
      prompt,
      params,
      number,
      arrival: this.#clock(),
      engineSeed: this.#options.config.seed,
      eosTokenIds: this.#options.eosTokenIds,
      tokenizer: this.tokenizer,
      vocabSize: this.limits.vocabSize,
      grammars: this.#gate.serviceFor(params.structuredOutputs),
      pools: this.limits.pooling?.type,
      speculates: (this.#options.config.speculativeConfig ?? null) !== null,
      adapter,
      resume,
    });
    const ends = resume === undefined ? [] : resumeGroup(group, resume, this.#eos);
    this.#numSequences = Math.max(this.#numSequences, number + params.bestOf);
    if (!this.hasUnfinished) this.#lastProgress = this.#clock();
    this.#requests.add(group);
    this.#begin(group, ends);
    return group;
  }

  /** `ends`: of completions that had ended before. */
  #begin(group: RequestGroup, ends: readonly (SequenceEnd | null)[]): void {
    const { sequences } = group;
    for (const [i, end] of ends.entries()) if (end !== null) this.#requests.end(sequences[i]!, end);
    if (group.isResumed) group.notify();
    if (!group.isFinished) this.#gate.admit(group);
    this.#gate.wake();
  }

  /** Throws QueueFullError when a request would be refused now whatever it is: before it is tokenised. */
  checkQueue(): void {
    checkQueue(this.scheduler.waiting, this.#options.config);
  }

  /** Compiles the grammar of such a request, if it has one. Rejects with InvalidRequestError when that cannot be used. */
  async prepare(params: SamplingParams): Promise<void> {
    await this.#gate.prepare(params);
  }

  /** Ends one completion of a request with reason `abort`, not the others. Nothing happens when it has ended already. */
  abortSequence(sequence: SequenceOutput): void {
    const { group } = sequence;
    if (group.failure !== null) return;
    this.#requests.end(sequence, { reason: 'abort', stopReason: null });
    group.notify();
    this.#gate.wake();
  }

  /** Ends a request with reason `abort`. Nothing happens when it has ended already. */
  abort(group: RequestGroup): void {
    if (group.failure !== null) return;
    this.#requests.endGroup(group, { reason: 'abort', stopReason: null });
    this.#gate.wake();
  }

  abortAll(): void {
    for (const group of this.#requests.all()) this.abort(group);
  }

  /** Ends every request that carries this id. */
  abortById(requestId: string): void {
    for (const group of this.#requests.all()) if (group.id === requestId) this.abort(group);
  }

  /**
   * Submits what can be submitted, then waits for the oldest result and hands out its tokens; while the engine is paused, waits
   * for it to go on. A step that fails costs at most the request at fault, and a lost device none: the others are computed
   * again. Rejects with EngineError when that leads nowhere; all requests have failed with it then, and the engine is closed.
   */
  async step(): Promise<void> {
    const { host } = this;
    let oldest: InFlight | undefined;
    try {
      const drafts = host.isPaused ? null : this.scheduler.prepareDrafts();
      if (drafts !== null) await host.draft(drafts);
      if (!host.isPaused) this.#submitAhead();
      oldest = host.next();
      if (oldest === undefined) return await this.#idle();
      const result = await oldest.result;
      host.succeeded();
      if (this.#closed === null) this.#update(oldest, result);
    } catch (cause) {
      await this.#recover(cause, oldest?.batch ?? null);
    }
  }

  /** Stops after the steps in flight. Requests stay, and more may come; `resume` goes on with them. */
  pause(): void {
    this.host.pause();
  }

  resume(): void {
    this.host.resume();
  }

  /**
   * Pauses, and frees what the device holds: the KV cache, and with `discardWeights` the weights too. Requests stay, and are
   * computed again after `wakeUp`. Throws EngineError when discarded weights could not be loaded again.
   */
  async sleep({ discardWeights = false }: { discardWeights?: boolean } = {}): Promise<void> {
    if (this.host.isSleeping) return;
    this.host.pause();
    this.scheduler.evacuate();
    try {
      await this.host.settle();
      await this.host.sleep(discardWeights);
    } catch (error) {
      this.#restart();
      throw error;
    }
  }

  get isSleeping(): boolean {
    return this.host.isSleeping;
  }

  async wakeUp(): Promise<void> {
    if (!this.host.isSleeping) return;
    await this.host.wakeUp();
    this.#restart();
    this.host.resume();
  }

  /** Ends all requests without output: their consumers get `error`. Further requests are refused with it. */
  fail(error: Error): void {
    this.#closed ??= error;
    this.host.endPause();
    for (const group of this.#requests.all()) this.#requests.refuse(group, error);
    this.#gate.wake();
  }

  stats(): EngineStats {
    const { scheduler } = this;
    return {
      numRequestsRunning: scheduler.running.length,
      numPlaces: scheduler.numPlaces,
      numRequestsWaiting: scheduler.waiting.length + this.#gate.numWaiting,
      runningAdapters: adapterNames(scheduler.running),
      waitingAdapters: adapterNames(scheduler.waiting),
      kvCacheUsage: scheduler.blocks.usage,
      numPreemptions: scheduler.counters.preemptions,
      prefixCacheQueries: scheduler.counters.prefixCacheQueries,
      prefixCacheHits: scheduler.counters.prefixCacheHits,
      draftTokens: scheduler.counters.draftTokens,
      acceptedTokens: scheduler.counters.acceptedTokens,
      numDrafts: scheduler.counters.numDrafts,
      acceptedPerPosition: [...scheduler.counters.acceptedPerPosition],
      numRecoveries: this.host.numRecoveries,
      hostTierBytes: this.#hostTierBytes(),
      ...this.#counters,
      lastProgress: this.hasUnfinished ? this.#lastProgress : this.#clock(),
      finished: { ...this.#requests.finished },
    };
  }

  /** Forgets all cached prefixes; running requests keep what they have. */
  resetPrefixCache(): void {
    this.scheduler.resetPrefixCache();
  }

  /** Fails what is running with EngineClosedError, waits for the executor, and disposes it. */
  async dispose(): Promise<void> {
    this.fail(new EngineClosedError());
    await this.host.settle();
    await this.scheduler.hostTier?.idle();
    await this.#gate.dispose();
    await this.host.dispose();
  }

  #createGate(grammars: GrammarService | null): GrammarGate {
    const requests = this.#requests;
    return new GrammarGate(grammars, {
      start: group => {
        if (requests.has(group)) this.#start(group);
      },
      refuse: (group, cause) => {
        if (requests.has(group)) requests.refuse(group, asError(cause));
      },
      end: sequence => {
        requests.end(sequence, { reason: 'stop', stopReason: null });
        sequence.group.notify();
      },
      fail: (sequence, cause) => {
        if (sequence.finishReason === null) requests.endWithError(sequence, cause);
      },
    });
  }

  /** The first completion leads; those that were resumed go on by themselves, unless their grammars are fulfilled. */
  #start(group: RequestGroup): void {
    const first = group.isResumed ? group.sequences : group.sequences.slice(0, 1);
    for (const sequence of first.filter(({ finishReason }) => finishReason === null)) {
      if (sequence.request.constraint?.isOver) this.#requests.end(sequence, { reason: 'stop', stopReason: null });
      else this.scheduler.add(sequence.request);
    }
    if (group.isResumed) group.notify();
  }

  #hostTierBytes(): EngineStats['hostTierBytes'] {
    const { toHost, toDevice } = this.scheduler.hostTier?.moved ?? { toHost: 0, toDevice: 0 };
    const { blockBytes } = this.limits;
    return { toHost: toHost * blockBytes, toDevice: toDevice * blockBytes };
  }

  #submitAhead(): void {
    const { host } = this;
    const { runAhead } = this.#options.config;
    while (host.numInFlight < runAhead && host.stepsInFlight < this.limits.ringSlots) {
      const batch = this.scheduler.schedule(host.stepsInFlight);
      if (batch === null) return;
      const submitted = this.#clock();
      this.#markScheduled(batch, submitted);
      host.submit(batch, submitted);
    }
  }

  /** Nothing is in flight: blocks or grammars may be on their way. */
  async #idle(): Promise<void> {
    const { hostTier } = this.scheduler;
    if (this.host.isPaused) await this.host.resumed();
    else if (hostTier?.isBusy) await hostTier.settled();
    else if (this.#gate.isBusy) await this.#gate.next();
    else this.#endStuckRequest();
  }

  /** Everything that was computed is lost; the requests are not. */
  async #recover(cause: unknown, failed: StepBatch | null): Promise<void> {
    if (this.#closed !== null) return;
    this.scheduler.evacuate();
    try {
      await this.host.settle();
      await this.host.renew(cause);
    } catch (reason) {
      const error = new EngineError(`The engine failed in a step: ${message(reason)}`, { cause: reason });
      this.fail(error);
      throw error;
    }
    this.#restart();
    if (failed === null || isDeviceLost(cause)) return;
    const culprit = this.scheduler.suspects.add(failed);
    if (culprit !== null) this.#requests.endWithError(culprit.owner as SequenceOutput, cause);
  }

  /** Begins with an empty cache on the executor that there is now. */
  #restart(): void {
    const evacuated = this.scheduler;
    this.scheduler = createScheduler(this.host.executor, this.#options.config, blockOptions(this.#options));
    for (const request of this.scheduler.adopt(evacuated)) {
      const reason = new EngineError('The request does not fit the cache that is left after the device was replaced.');
      this.#requests.endWithError(request.owner as SequenceOutput, reason);
    }
  }

  #markScheduled(batch: StepBatch, now: number): void {
    if (batch.newRows.length === 0) return;
    for (let i = 0; i < batch.numSequences; i++) {
      const { group } = batch.request(i).owner as SequenceOutput;
      if (group.metrics.firstScheduled !== null) continue;
      group.metrics.firstScheduled = now;
      this.#counters.promptTokens += group.prompt.tokenIds.length;
      this.#counters.cachedPromptTokens += group.numCachedTokens;
    }
  }

  #update({ batch, submitted }: InFlight, result: StepResult): void {
    const now = this.#clock();
    const tokens = this.#results.take(batch, result, this.scheduler, now);
    this.#counters.generationTokens += tokens;
    this.#counters.numSteps++;
    this.#lastProgress = now;
    this.#reporter.report(batch, tokens, now - submitted);
    // The end of a request frees blocks, and there may be no further step to save them in.
    this.scheduler.hostTier?.saveNext();
    this.#trace(batch, now, now - submitted);
    this.scheduler.recycle(batch);
  }

  #trace(batch: StepBatch, time: number, milliseconds: number): void {
    const { observer } = this.#options;
    if (observer?.onTrace === undefined || observer.wantsTrace === false) return;
    const { numSteps, generationTokens } = this.#counters;
    const step = { step: numSteps, time, milliseconds, generationTokens };
    observer.onTrace(traceStep(this.scheduler, batch, step));
  }

  /** Nothing is in flight, nothing can be scheduled, and yet a request is there: better it fails than all wait forever. */
  #endStuckRequest(): void {
    const request = this.scheduler.running[0] ?? this.scheduler.waiting.first;
    if (request === null) return;
    const error = new EngineError('The request could not be scheduled although nothing else was running.');
    this.#requests.endWithError(request.owner as SequenceOutput, error);
  }
}

function asError(cause: unknown): Error {
  return cause instanceof Error ? cause : new Error(String(cause));
}

function blockOptions({ prefixHash, blockObserver }: LLMEngineOptions) {
  return { hash: prefixHash, observer: blockObserver };
}
