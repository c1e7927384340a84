import {
  type EmbedParams,
  type EngineConfig,
  EngineError,
  type EngineObserver,
  type EngineOptions,
  type EngineStats,
  type ExecutorLimits,
  type FrontRequest,
  FrontRequests,
  type GenerateOptions,
  InvalidRequestError,
  type LoraRequest,
  type PromptInput,
  RequestStream,
  requireGeneration,
  requirePooling,
  type SamplingParams,
  type Tokenizer,
} from '@quire/core';
import type { AppLog, ServingEngine } from '../app/context.ts';
import type { OnTransfer } from '../node/transfer-progress.ts';
import { placeOfProcess } from '../ranks/launch.ts';
import type { EngineDescription } from '../serve/open-engine.ts';
import { Blame, MAX_KILLS } from './blame.ts';
import { type Frame, FrameKind } from './frames.ts';
import { hostEntry } from './link.ts';
import type { Ready } from './messages.ts';
import { encodeAsk } from './params.ts';
import { RemoteAdapters } from './remote-adapters.ts';
import { RemoteCounters } from './remote-counters.ts';
import { StepReceiver } from './step-receiver.ts';
import { Supervisor } from './supervisor.ts';
import { traceText } from './trace-frames.ts';

/** Longer than any step of a GPU. */
const SILENCE_MS = 60_000;
/** A device in software may take minutes for a step, and the engine's thread is silent meanwhile where it computes itself. */
const SOFTWARE_SILENCE_MS = 600_000;
/** Three heartbeats. */
const HUNG_MS = 1_500;

export interface EngineProcessOptions {
  readonly options: EngineOptions;
  /** What the options say, checked. */
  readonly config: EngineConfig;
  /** As `--device`. */
  readonly device: string;
  /** The one of the model, loaded meanwhile. */
  readonly tokenizer: Promise<Tokenizer>;
  readonly observer?: EngineObserver;
  readonly log: AppLog;
  readonly onStage?: (name: string, ms: number) => void;
  readonly onLoading?: OnTransfer;
  /** Told of steps while they are watched: a StepTrace as JSON. */
  readonly onTrace?: (json: string) => void;
  /** The program that runs the engine. Default: that of this package. */
  readonly entry?: URL;
  /** An engine that says nothing, or finishes no step, for this long is taken for dead. Default 60 s; in software 10 minutes. */
  readonly silenceMs?: number;
  /** One that says nothing for this long gets no new requests: it hangs. Default 1.5 s, or silenceMs in software. */
  readonly hungMs?: number;
}

/**
 * An engine in a process of its own. What it is asked and all that came of it is kept on this side, so an engine that ends, for
 * whatever reason, is replaced, and every request goes on behind its last token as if nothing had been.
 */
export class EngineProcess implements ServingEngine {
  readonly tokenizer: Tokenizer;
  readonly #front: FrontRequests;
  readonly #supervisor: Supervisor;
  readonly #log: AppLog;
  readonly #counters = new RemoteCounters();
  readonly #adapters = new RemoteAdapters((method, options) => this.#supervisor.call(method, options));
  /** The engine has the adapters that requests ask for. */
  #isRestored = true;
  readonly #blame = new Blame<FrontRequest>();
  /** Requests with a grammar that this engine has begun to compute. */
  #begun = new WeakSet<FrontRequest>();
  readonly #receiver: StepReceiver;
  readonly #hungMs: number;
  readonly #patienceMs: number;
  readonly #onTrace: (json: string) => void;
  /** Resolves with the reason when no engine will be started any more. */
  readonly givenUp: Promise<Error>;
  #reportEnd: (reason: Error) => void = () => {};
  /** Requests that the engine has, by the name that they have there. */
  readonly #inside = new Map<number, FrontRequest>();
  /** Those that it does not have yet, in order. */
  readonly #waiting = new Set<FrontRequest>();
  #description: EngineDescription;
  #lastProgress = performance.now();
  #isPaused = false;
  #isWatched = false;
  #asleep: { discardWeights?: boolean } | null = null;

  /** Rejects with what a start in this process would reject with. */
  static async open(options: EngineProcessOptions): Promise<EngineProcess> {
    const { config, device, entry = hostEntry, onStage = () => {}, onLoading = () => {} } = options;
    const patienceMs = (ready: Ready) => options.silenceMs ?? silenceOf(ready.description);
    // Bounds of the queue are kept on this side.
    const bounded = { ...options.options, maxNumQueuedReqs: null, maxNumQueuedTokens: null, seed: undefined };
    // The engine says first what is wrong with a model, also with its tokenizer.
    options.tokenizer.catch(() => {});
    const boot = { options: bounded, seed: String(config.seed), device };
    // The other ranks of a group are gone with the engine that led them.
    const restarts = placeOfProcess(config, process.env) === null;
    const supervisor = new Supervisor({ entry, patienceMs, boot, restarts, onStage, onLoading });
    const ready = await supervisor.start();
    try {
      return new EngineProcess(supervisor, ready, options, await options.tokenizer);
    } catch (error) {
      await supervisor.dispose();
      throw error;
    }
  }

  private constructor(supervisor: Supervisor, ready: Ready, options: EngineProcessOptions, tokenizer: Tokenizer) {
    const { config, observer, log, onTrace = () => {} } = options;
    const { limits, eosTokenIds, generationConfig, description } = ready;
    this.tokenizer = tokenizer;
    this.givenUp = new Promise(resolve => {
      this.#reportEnd = resolve;
    });
    this.#supervisor = supervisor;
    this.#description = description;
    this.#log = log;
    this.#onTrace = onTrace;
    this.#patienceMs = options.silenceMs ?? silenceOf(description);
    // A device in software may compute on the engine's own thread, which is silent for as long as a step takes.
    const { software } = description.device.capabilities;
    this.#hungMs = options.hungMs ?? (software ? this.#patienceMs : HUNG_MS);
    // Admission bounds the requests, and counts them before their bodies are read.
    const bounds = { ...config, maxNumQueuedReqs: null };
    const rules = { limits, config: bounds, tokenizer, eosTokenIds, generationConfig };
    this.#front = new FrontRequests({ ...rules, ...(observer ? { observer } : {}) });
    this.#receiver = new StepReceiver(this.#front, this.#inside, {
      abort: (request, sequence) => this.#supervisor.send(FrameKind.abort, { request, sequence }),
      progressed: (request, numComputed) => this.#progressed(request, numComputed),
      stats: stats => this.#counters.update(stats),
    });
    supervisor.follow({
      onReady: next => this.#opened(next),
      onFrame: frame => this.#receive(frame),
      onEnded: (reason, wasOpen) => this.#ended(reason, wasOpen),
      onGivenUp: error => this.#givenUp(error),
    });
  }

  get limits(): ExecutorLimits {
    return this.#front.limits;
  }

  get closed(): boolean {
    return this.#front.closed;
  }

  /** There is an engine, and it said lately that it lives. */
  get isResponsive(): boolean {
    return this.#supervisor.silence < this.#hungMs;
  }

  get description(): EngineDescription {
    return this.#description;
  }

  /** The process that runs now; undefined between two of them. */
  get pid(): number | undefined {
    return this.#supervisor.pid;
  }

  /** An engine takes requests now; otherwise they wait for the next one. */
  get isOpen(): boolean {
    return this.#supervisor.isOpen;
  }

  /** As AsyncLLM.generate; functions cannot leave the process, so logits processors are refused. */
  generate(prompt: PromptInput, params: SamplingParams = {}, options: GenerateOptions = {}): RequestStream {
    requireGeneration(this.limits);
    return this.#stream(prompt, params, options);
  }

  /** As AsyncLLM.embed. */
  embed(
    prompt: PromptInput,
    params: EmbedParams = {},
    options: Omit<GenerateOptions, 'outputKind'> = {},
  ): RequestStream {
    requirePooling(this.limits);
    return this.#stream(prompt, params, { ...options, outputKind: 'final' });
  }

  #stream(prompt: PromptInput, params: SamplingParams, options: GenerateOptions): RequestStream {
    const { signal, outputKind = 'cumulative', requestId, loraRequest = null } = options;
    const adapter = loraRequest === null ? null : this.#adapters.keyOf(loraRequest.loraName);
    const told = { adapter, ...(requestId === undefined ? {} : { requestId }) };
    const request = this.#front.add(prompt, params, told, this.numRunning);
    if (request.group.params.logitsProcessors.length > 0) {
      this.#front.abort(request.group);
      throw new InvalidRequestError(
        'logits_processors cannot be used: the engine runs in a process of its own. Use the library in process.',
        'logits_processors',
      );
    }
    this.#waiting.add(request);
    const stream = new RequestStream(request.group, outputKind, () => this.#abort(request), signal);
    this.#pump();
    return stream;
  }

  checkQueue(): void {
    this.#front.checkQueue(this.numRunning);
  }

  /** Ends every running request with this id, with reason `abort`. */
  abort(requestId: string): void {
    for (const request of this.#front.unfinished) if (request.group.id === requestId) this.#abort(request);
  }

  stats(): EngineStats {
    const front = this.#front;
    const running = this.numRunning;
    return {
      ...this.#counters.read(this.#supervisor.numRestarts),
      numRequestsRunning: running,
      numRequestsWaiting: front.numUnfinished - running,
      numPlaces: this.numPlaces,
      runningAdapters: this.#adapters.namesOf(front.unfinished.filter(isScheduled)),
      waitingAdapters: this.#adapters.namesOf(front.unfinished.filter(request => !isScheduled(request))),
      promptTokens: front.promptTokens,
      cachedPromptTokens: front.cachedPromptTokens,
      generationTokens: front.generationTokens,
      lastProgress: front.hasUnfinished ? this.#lastProgress : performance.now(),
      finished: front.finished,
    };
  }

  /** As AsyncLLM.pause. */
  pause({ abort = false }: { abort?: boolean } = {}): void {
    this.#isPaused = true;
    this.#tell('pause');
    if (abort) for (const request of this.#front.unfinished) this.#abort(request);
  }

  resume(): void {
    if (this.#asleep !== null) throw new EngineError('The engine is asleep. Wake it up instead.');
    this.#isPaused = false;
    this.#tell('resume');
  }

  async sleep(options: { discardWeights?: boolean } = {}): Promise<void> {
    await this.#supervisor.call('sleep', options);
    this.#asleep = options;
  }

  get isSleeping(): boolean {
    return this.#asleep !== null;
  }

  async wakeUp(): Promise<void> {
    if (this.#asleep === null) return;
    await this.#supervisor.call('wakeUp');
    this.#asleep = null;
    this.#isPaused = false;
    this.#lastProgress = performance.now();
  }

  /** Names of the adapters that requests may ask for. */
  get loras(): string[] {
    return this.#adapters.names;
  }

  /** As AsyncLLM.addLora, of a folder. */
  addLora(request: LoraRequest): Promise<void> {
    return this.#adapters.add(request, this.#front.unfinished);
  }

  /** As AsyncLLM.removeLora. */
  removeLora(loraName: string): Promise<void> {
    return this.#adapters.remove(loraName, this.#front.unfinished);
  }

  resetPrefixCache(): void {
    this.#tell('resetPrefixCache');
  }

  /** Whether `onTrace` is to be told of steps. The engine takes no traces otherwise. */
  watchSteps(isWatched: boolean): void {
    this.#isWatched = isWatched;
    if (this.#supervisor.isOpen) this.#supervisor.call('watch', { isWatched }).catch(() => {});
  }

  /** Requests still running fail with EngineClosedError. Resolves when the process has ended. */
  async dispose(): Promise<void> {
    this.#front.close();
    await this.#supervisor.dispose();
  }

  /** Completions that are computed now, as far as is known here. */
  get numRunning(): number {
    return Math.min(this.#counters.running, this.#front.numUnfinished);
  }

  /** As AsyncLLM.numPlaces, when the engine last told of itself. One that starts has places for all that it will run. */
  get numPlaces(): number {
    return this.#counters.places ?? this.limits.maxNumSeqs;
  }

  #abort(request: FrontRequest): void {
    this.#front.abort(request.group);
    this.#waiting.delete(request);
    this.#blame.acquit(request);
    if (this.#inside.delete(nameOf(request))) {
      this.#supervisor.send(FrameKind.abort, { request: nameOf(request), sequence: null });
    }
    this.#pump();
  }

  /** A state that the engine must be in: the next one is told of it when it starts. */
  #tell(method: 'pause' | 'resume' | 'resetPrefixCache'): void {
    if (this.#supervisor.isOpen) this.#supervisor.call(method).catch(() => {});
  }

  #pump(): void {
    if (!this.#supervisor.isOpen || !this.#isRestored || this.#waiting.size === 0) return;
    // Time in which it had nothing to do is none without progress.
    if (this.#inside.size === 0) this.#lastProgress = performance.now();
    for (const request of this.#blame.admit([...this.#waiting], this.#inside.values())) {
      this.#waiting.delete(request);
      this.#inside.set(nameOf(request), request);
      const { head, words } = encodeAsk({ request: nameOf(request), ...this.#front.askOf(request) });
      this.#supervisor.send(FrameKind.add, head, words);
    }
  }

  #opened({ limits, description }: Ready): void {
    this.#front.limits = limits;
    this.#description = description;
    this.#lastProgress = performance.now();
    this.#log.debug({ pid: this.pid }, 'the engine process takes requests');
    if (this.#asleep !== null) this.#supervisor.call('sleep', this.#asleep).catch(() => {});
    else if (this.#isPaused) this.#tell('pause');
    if (this.#isWatched) this.watchSteps(true);
    void this.#restore();
  }

  /** Requests wait until the engine has their adapters. */
  async #restore(): Promise<void> {
    this.#isRestored = false;
    const { pid } = this;
    await this.#adapters.restore((name, err) =>
      this.#log.error({ err }, `the adapter ${name} could not be loaded again`),
    );
    // Yet another engine may have taken its place meanwhile, and is being told itself.
    if (pid !== this.pid) return;
    this.#isRestored = true;
    this.#pump();
  }

  #receive(frame: Frame): void {
    if (frame.kind === FrameKind.trace) {
      this.#onTrace(traceText(frame.words));
      return;
    }
    if (frame.kind === FrameKind.step) this.#lastProgress = performance.now();
    this.#receiver.receive(frame);
    if (frame.kind === FrameKind.heartbeat) this.#checkProgress();
  }

  /** An engine whose thread lives while its device hangs. */
  #checkProgress(): void {
    const still = performance.now() - this.#lastProgress;
    if (this.#inside.size === 0 || this.#isPaused || this.#asleep !== null || still < this.#patienceMs) return;
    this.#supervisor.kill(`it had work and finished no step for ${Math.round(still)} ms`);
  }

  /** What other engines had computed is no progress. */
  #progressed(request: FrontRequest, numComputed: number | undefined): void {
    if (hasGrammar(request)) this.#begun.add(request);
    if (numComputed !== undefined && !this.#blame.advances(request, numComputed)) return;
    this.#supervisor.progressed();
    if (this.#blame.acquit(request)) this.#pump();
  }

  #ended(reason: string, wasOpen: boolean): void {
    this.#log.error({ reason, unfinished: this.#front.unfinished.length }, 'the engine process ended');
    this.#counters.lost();
    const waited = (request: FrontRequest) => hasGrammar(request) && !this.#begun.has(request);
    const guilty = wasOpen ? this.#blame.ended(this.#inside.values(), waited) : null;
    this.#begun = new WeakSet();
    this.#inside.clear();
    if (guilty !== null) this.#giveUp(guilty, reason);
    for (const request of this.#front.unfinished) this.#waiting.add(request);
  }

  #giveUp({ group, sequences }: FrontRequest, reason: string): void {
    const error = new EngineError(
      `The request ended the engine ${MAX_KILLS} times or more, the last time because ${reason}.`,
    );
    for (const sequence of sequences) if (sequence.finishReason === null) this.#front.fail(sequence, error);
    this.#log.error({ requestId: group.id }, error.message);
  }

  #givenUp(error: Error): void {
    this.#log.error({ err: error }, error.message);
    this.#waiting.clear();
    this.#front.close(error);
    this.#reportEnd(error);
  }
}

function isScheduled({ group }: FrontRequest): boolean {
  return group.metrics.firstScheduled !== null;
}

function hasGrammar({ group }: FrontRequest): boolean {
  return group.params.structuredOutputs !== null;
}

function silenceOf({ device }: EngineDescription): number {
  return device.capabilities.software ? SOFTWARE_SILENCE_MS : SILENCE_MS;
}

/** What the engine calls a request: unsigned, 32 bits. */
function nameOf({ number }: FrontRequest): number {
  return number >>> 0;
}
