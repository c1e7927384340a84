import { EngineClosedError } from '../errors.ts';
import type { SamplingParams } from '../sampling/sampling-params.ts';
import type { Tokenizer } from '../tokenizer/types.ts';
import type { ExecutorLimits } from '../worker/types.ts';
import type { LoraRequest } from './adapters.ts';
import type { AddOptions, LLMEngineOptions } from './engine-options.ts';
import type { EngineStats } from './engine-stats.ts';
import { LLMEngine } from './llm-engine.ts';
import type { RequestGroup, SequenceOutput } from './output-processor.ts';
import { type EmbedParams, requireGeneration, requirePooling } from './pooling-params.ts';
import type { PromptInput } from './prompt.ts';
import type { OutputKind } from './request-output.ts';
import { RequestStream } from './request-stream.ts';
import type { ResolvedRequest } from './resolve-request.ts';
import { Turns } from './turns.ts';

export interface GenerateOptions extends AddOptions {
  /** Aborts the request. Its stream then ends with an output whose finishReason is `abort`. */
  signal?: AbortSignal;
  /** Default `cumulative`. */
  outputKind?: OutputKind;
}

/**
 * The engine as a service: requests come and go at any time, and each has a stream of outputs of its own. Steps run while there
 * is work; otherwise nothing is scheduled and no timer runs.
 */
export class AsyncLLM implements AsyncDisposable {
  readonly #engine: LLMEngine;
  #loop: Promise<void> | null = null;
  #disposal: Promise<void> | null = null;

  constructor(options: LLMEngineOptions) {
    this.#engine = new LLMEngine(options);
  }

  get limits(): ExecutorLimits {
    return this.#engine.limits;
  }

  /** It was disposed or has failed, and takes no more requests. */
  get closed(): boolean {
    return this.#engine.closed;
  }

  get tokenizer(): Tokenizer | null {
    return this.#engine.tokenizer;
  }

  /**
   * Queues a request and returns the stream of its outputs. Throws InvalidRequestError when it cannot be served as asked,
   * QueueFullError when too much waits, and EngineClosedError or EngineError when the engine is closed or has failed. Leaving the
   * loop over the stream (its `return`) aborts the request. When the engine fails, the stream throws EngineError.
   */
  generate(prompt: PromptInput, params: SamplingParams = {}, options: GenerateOptions = {}): RequestStream {
    requireGeneration(this.limits);
    return this.#stream(prompt, params, options);
  }

  /**
   * The same for an engine that makes embeddings: the one output of the stream has what was pooled, from which `embeddingOutput` makes
   * the embedding. `dimensions` and `normalize` are not looked at here.
   */
  embed(
    prompt: PromptInput,
    params: EmbedParams = {},
    options: Omit<GenerateOptions, 'outputKind'> = {},
  ): RequestStream {
    requirePooling(this.limits);
    return this.#stream(prompt, params, { ...options, outputKind: 'final' });
  }

  #stream(prompt: PromptInput, params: SamplingParams, options: GenerateOptions): RequestStream {
    const { signal, outputKind = 'cumulative', ...addOptions } = options;
    const group = this.#engine.add(prompt, params, addOptions);
    const stream = new RequestStream(group, outputKind, () => this.#engine.abort(group), signal);
    this.#loop ??= this.#run();
    return stream;
  }

  /**
   * Queues a request that `resolveRequest` checked, for a caller that carries its tokens elsewhere: there is no stream, and
   * `onChange` of the group tells of news. Throws as `generate` does.
   */
  enqueue(request: ResolvedRequest, options: AddOptions = {}): RequestGroup {
    const group = this.#engine.enqueue(request, options);
    this.#loop ??= this.#run();
    return group;
  }

  /** Ends such a request with reason `abort`, or one completion of it. */
  abortGroup(group: RequestGroup, sequence: SequenceOutput | null = null): void {
    if (sequence === null) this.#engine.abort(group);
    else this.#engine.abortSequence(sequence);
  }

  /** Throws QueueFullError when a request would be refused now whatever it is: ask before its prompt is tokenised. */
  checkQueue(): void {
    this.#engine.checkQueue();
  }

  /**
   * Compiles the grammar of such a request ahead of `generate`, where it has structured outputs. Rejects with InvalidRequestError
   * when it cannot be used; without this, the stream throws it.
   */
  async prepare(params: SamplingParams): Promise<void> {
    await this.#engine.prepare(params);
  }

  /** Ends every running request with this id, with reason `abort`. */
  abort(requestId: string): void {
    this.#engine.abortById(requestId);
  }

  /** Names of the adapters that requests may ask for. */
  get loras(): string[] {
    return this.#engine.adapters.names;
  }

  /**
   * Loads an adapter that requests may ask for, while others run. Rejects with InvalidRequestError when the name is taken or the engine
   * takes no more, and with ModelFormatError when it does not fit the model.
   */
  addLora(request: LoraRequest): Promise<void> {
    return this.#engine.adapters.load(request);
  }

  /** Requests that began with it go on; no other one may. Rejects with InvalidRequestError when there is no such adapter. */
  async removeLora(loraName: string): Promise<void> {
    this.#engine.adapters.remove(loraName);
  }

  stats(): EngineStats {
    return this.#engine.stats();
  }

  /** Of `stats`: completions that are computed now. */
  get numRunning(): number {
    return this.#engine.scheduler.running.length;
  }

  /** Of `stats`: places for further completions, which those that wait already will take first. */
  get numPlaces(): number {
    return this.#engine.scheduler.numPlaces;
  }

  /** Stops after the steps in flight. Requests stay, or end with reason `abort`; more may come, and wait. */
  pause({ abort = false }: { abort?: boolean } = {}): void {
    this.#engine.pause();
    if (abort) this.#engine.abortAll();
  }

  /** Goes on after `pause`. Throws EngineError while the engine sleeps. */
  resume(): void {
    this.#engine.resume();
  }

  /**
   * Pauses, and frees what the device holds: the KV cache, and with `discardWeights` the weights too. Requests stay, and are
   * computed again after `wakeUp`. Throws EngineError when discarded weights could not be loaded again.
   */
  sleep(options: { discardWeights?: boolean } = {}): Promise<void> {
    return this.#engine.sleep(options);
  }

  get isSleeping(): boolean {
    return this.#engine.isSleeping;
  }

  wakeUp(): Promise<void> {
    return this.#engine.wakeUp();
  }

  resetPrefixCache(): void {
    this.#engine.resetPrefixCache();
  }

  /** Requests still running fail with EngineClosedError. Frees what the executor holds on the device. */
  dispose(): Promise<void> {
    this.#disposal ??= this.#close();
    return this.#disposal;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async #close(): Promise<void> {
    this.#engine.fail(new EngineClosedError());
    await this.#loop;
    await this.#engine.dispose();
  }

  /** Runs until no request is left. A failure of the engine has reached every stream when `step` rejects. */
  async #run(): Promise<void> {
    // Requests that are added in one go start in one step.
    await null;
    const turns = new Turns();
    try {
      while (this.#engine.hasUnfinished) {
        await this.#engine.step();
        await turns.giveWay();
      }
    } catch {
      // Told to the streams.
    } finally {
      this.#loop = null;
    }
  }
}
