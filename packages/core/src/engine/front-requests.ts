import { EngineClosedError } from '../errors.ts';
import type { GenerationConfig } from '../models/config.ts';
import type { SamplingParams } from '../sampling/sampling-params.ts';
import type { Tokenizer } from '../tokenizer/types.ts';
import type { ExecutorLimits } from '../worker/types.ts';
import { createGroup } from './create-group.ts';
import type { LLMEngineConfig } from './create-scheduler.ts';
import type { AddOptions } from './engine-options.ts';
import type { EngineObserver } from './engine-stats.ts';
import type { RequestGroup, SequenceOutput } from './output-processor.ts';
import type { FinishReason, PositionLogprobs, SequenceEnd } from './outputs.ts';
import type { PromptInput } from './prompt.ts';
import { checkQueue, checkQueuedTokens } from './queue-limits.ts';
import { RequestRegistry } from './request-registry.ts';
import { type ResolvedRequest, resolveRequest } from './resolve-request.ts';
import type { ResumedCompletion } from './resume.ts';
import { type BatchSize, StepReporter } from './step-reporter.ts';
import { acceptToken } from './update-sequence.ts';

export interface FrontRequestsOptions {
  limits: ExecutorLimits;
  config: Pick<LLMEngineConfig, 'seed' | 'schedulingPolicy' | 'maxNumQueuedReqs' | 'maxNumQueuedTokens'>;
  tokenizer: Tokenizer;
  eosTokenIds: readonly number[];
  generationConfig: GenerationConfig | null;
  observer?: EngineObserver;
  /** Milliseconds on a monotonic clock. Default: performance.now. */
  clock?: () => number;
}

export interface FrontAddOptions {
  requestId?: string;
  /** Under which name engines have its adapter. Default: the model alone computes it. */
  adapter?: string | null;
}

/** A request with what an engine must be told to begin it, or to go on with it. */
export interface FrontRequest {
  readonly group: RequestGroup;
  /** Number of its first completion among all. */
  readonly number: number;
  /** Its completions in order of index, also when only some of them are returned. */
  readonly sequences: readonly SequenceOutput[];
  readonly adapter: string | null;
}

/** What became of a beam, all at once. */
export interface FinishedBeam {
  readonly tokens: readonly number[];
  /** Sum of its log-probabilities. */
  readonly total: number;
  readonly logprobs: PositionLogprobs[] | null;
  readonly end: SequenceEnd;
}

/**
 * The requests of an engine that computes elsewhere, in a process of its own: what it is asked, and all that came of it. Prompts are
 * tokenised and parameters checked here, and here tokens become text and stop strings are found. So nothing is lost with the
 * engine: another one goes on with what `askOf` says.
 */
export class FrontRequests {
  /** Of the engine that there is. */
  limits: ExecutorLimits;
  readonly #options: FrontRequestsOptions;
  readonly #eos: ReadonlySet<number>;
  readonly #clock: () => number;
  readonly #reporter: StepReporter;
  readonly #registry: RequestRegistry;
  readonly #requests = new Map<RequestGroup, FrontRequest>();
  #numSequences = 0;
  #numUnfinished = 0;
  #waitingTokens = 0;
  #closed: Error | null = null;
  promptTokens = 0;
  cachedPromptTokens = 0;
  generationTokens = 0;

  constructor(options: FrontRequestsOptions) {
    this.#options = options;
    this.limits = options.limits;
    this.#eos = new Set(options.eosTokenIds);
    this.#clock = options.clock ?? (() => performance.now());
    this.#reporter = new StepReporter(options.observer ?? {});
    this.#registry = new RequestRegistry({
      release: request => {
        if (request.status !== 'finished') this.#numUnfinished--;
        request.status = 'finished';
      },
      finished: group => this.#reporter.finished(group),
      clock: this.#clock,
    });
  }

  get closed(): boolean {
    return this.#closed !== null;
  }

  /** Requests that have not ended, in the order in which they came. */
  get unfinished(): FrontRequest[] {
    return [...this.#requests.values()];
  }

  get hasUnfinished(): boolean {
    return this.#requests.size > 0;
  }

  /** Completions that have not ended. */
  get numUnfinished(): number {
    return this.#numUnfinished;
  }

  get finished(): Record<FinishReason, number> {
    return { ...this.#registry.finished };
  }

  /** Throws as AsyncLLM.generate does. */
  add(input: PromptInput, params: SamplingParams, options: FrontAddOptions, running: number): FrontRequest {
    if (this.#closed !== null) throw this.#closed;
    this.checkQueue(running);
    const { limits } = this;
    const { tokenizer, generationConfig, eosTokenIds, config } = this.#options;
    const { schedulingPolicy } = config;
    const context = { limits, tokenizer, generationConfig, eosTokenIds, schedulingPolicy };
    const { prompt, params: resolved } = resolveRequest(input, params, context);
    checkQueuedTokens(this.#queue(running), config, prompt.tokenIds.length);
    const number = this.#numSequences;
    const group = createGroup({
      id: options.requestId ?? String(number),
      prompt,
      params: resolved,
      number,
      arrival: this.#clock(),
      engineSeed: config.seed,
      eosTokenIds,
      tokenizer,
      vocabSize: limits.vocabSize,
      grammars: null,
      pools: limits.pooling?.type,
      speculates: false,
      isElsewhere: true,
    });
    this.#numSequences += resolved.bestOf;
    this.#numUnfinished += resolved.bestOf;
    this.#waitingTokens += prompt.tokenIds.length;
    const request = { group, number, sequences: [...group.sequences], adapter: options.adapter ?? null };
    this.#requests.set(group, request);
    this.#registry.add(group);
    return request;
  }

  /** Throws QueueFullError when a request would be refused now whatever it is. `running`: completions that are computed now. */
  checkQueue(running: number): void {
    checkQueue(this.#queue(running), this.#options.config);
  }

  /** The engine began with a request, `waited` milliseconds after it came, and found so many tokens of its prompt in its cache. */
  scheduled(request: FrontRequest, waited: number, numCachedTokens: number): void {
    const { metrics, prompt } = request.group;
    if (metrics.firstScheduled !== null || !this.#requests.has(request.group)) return;
    metrics.firstScheduled = metrics.arrival + waited;
    request.sequences[0]!.request.numCachedTokens = numCachedTokens;
    this.promptTokens += prompt.tokenIds.length;
    this.cachedPromptTokens += numCachedTokens;
    this.#waitingTokens -= prompt.tokenIds.length;
  }

  /**
   * Takes tokens that the engine computed for a completion, up to the one that ends it; `logprobs` one per token, where they are
   * kept. Returns whether the engine must be told of the end: it does not look for
   * stop strings.
   */
  take(sequence: SequenceOutput, tokens: ArrayLike<number>, logprobs: readonly PositionLogprobs[] | null): boolean {
    if (sequence.finishReason !== null) return false;
    const before = sequence.request.numTokens;
    try {
      const end = this.#append(sequence, tokens, logprobs);
      this.#gained(sequence, sequence.request.numTokens - before);
      if (end === null) return false;
      this.end(sequence, end);
      return typeof end.stopReason === 'string';
    } catch (cause) {
      // Text is made of one request at a time: its failure is that request's.
      this.fail(sequence, cause);
      return true;
    }
  }

  #append(
    sequence: SequenceOutput,
    tokens: ArrayLike<number>,
    logprobs: readonly PositionLogprobs[] | null,
  ): SequenceEnd | null {
    let end: SequenceEnd | null = null;
    for (let i = 0; i < tokens.length && end === null; i++) {
      sequence.request.append(tokens[i]!);
      if (logprobs !== null) sequence.addLogprobs(logprobs[i]!);
      end = acceptToken(sequence, tokens[i]!, this.#eos);
    }
    return end;
  }

  /** Takes the log-probabilities of the prompt token at `position`; those that are known already are dropped. */
  takePromptLogprobs({ group, sequences }: FrontRequest, position: number, logprobs: PositionLogprobs): void {
    if (group.promptLogprobs?.length === position) group.addPromptLogprobs(sequences[0]!.request, logprobs);
  }

  /** Takes all of a beam. */
  takeBeam(beam: SequenceOutput, { tokens, total, logprobs, end }: FinishedBeam): void {
    if (beam.finishReason !== null) return;
    beam.setOutput(tokens, total, beam.group.params.logprobs === null ? null : logprobs, end);
    this.#gained(beam, tokens.length);
    this.end(beam, end);
  }

  /** Takes the hidden states of a request, which end it. */
  takePooled({ group, sequences }: FrontRequest, pooled: Float32Array): void {
    if (group.isFinished) return;
    group.pooled = pooled;
    this.end(sequences[0]!, { reason: 'stop', stopReason: null });
  }

  end(sequence: SequenceOutput, end: SequenceEnd): void {
    this.#registry.end(sequence, end);
    this.#forget(sequence.group);
  }

  /** All completions of a request end that have not. Nothing happens when it has ended. */
  abort(group: RequestGroup): void {
    if (group.failure !== null) return;
    this.#registry.endGroup(group, { reason: 'abort', stopReason: null });
    this.#forget(group);
  }

  /** The completion ends with reason `error`, and its request carries the error. */
  fail(sequence: SequenceOutput, error: unknown): void {
    this.#registry.endWithError(sequence, error);
    this.#forget(sequence.group);
  }

  /** The request gives no output any more: its consumer gets the error. */
  refuse(group: RequestGroup, error: Error): void {
    this.#registry.refuse(group, error);
    this.#forget(group);
  }

  /** Refuses all requests, and further ones. */
  close(error: Error = new EngineClosedError()): void {
    this.#closed ??= error;
    for (const { group } of this.unfinished) this.refuse(group, error);
  }

  /** A step of the engine, after its tokens were taken. */
  report(batch: BatchSize, numGenerationTokens: number, milliseconds: number): void {
    this.#reporter.report(batch, numGenerationTokens, milliseconds);
  }

  /** What an engine is told of a request that it has not seen: all of it, and what came of it in another engine. */
  askOf(request: FrontRequest): { resolved: ResolvedRequest; options: AddOptions } {
    const { group, number, adapter } = request;
    const { params, prompt } = group;
    const loraRequest = adapter === null ? null : { loraName: adapter };
    const hasPromptLogprobs = group.promptLogprobs?.length === prompt.tokenIds.length;
    const asked = {
      ...params,
      stop: [],
      detokenize: false,
      // Completions are ranked here, by the sum of these.
      logprobs: params.logprobs ?? (group.choosesAtEnd && !params.useBeamSearch ? 0 : null),
      promptLogprobs: hasPromptLogprobs ? null : params.promptLogprobs,
    };
    const resume = this.#resumeOf(request);
    return {
      resolved: { prompt: { text: null, tokenIds: prompt.tokenIds }, params: asked },
      options: { requestId: group.id, number, loraRequest, ...(resume === undefined ? {} : { resume }) },
    };
  }

  /** undefined where nothing came of it yet. */
  #resumeOf({ group, sequences }: FrontRequest): ResumedCompletion[] | undefined {
    const isNew = sequences.every(
      ({ request, finishReason }) => request.numOutputTokens === 0 && finishReason === null,
    );
    if (isNew || group.params.useBeamSearch) return undefined;
    return sequences.map(({ request, cumulativeLogprob, finishReason, stopReason }) => ({
      tokenIds: request.outputTokens(),
      cumulativeLogprob,
      end: finishReason === null ? null : { reason: finishReason, stopReason },
    }));
  }

  #queue(running: number) {
    return { length: Math.max(0, this.numUnfinished - running), numTokens: this.#waitingTokens };
  }

  #gained(sequence: SequenceOutput, tokens: number): void {
    if (tokens === 0) return;
    this.generationTokens += tokens;
    this.#reporter.gained(sequence, tokens, this.#clock());
  }

  #forget(group: RequestGroup): void {
    if (!group.isFinished && group.failure === null) return;
    if (!this.#requests.delete(group)) return;
    if (group.metrics.firstScheduled === null) this.#waitingTokens -= group.prompt.tokenIds.length;
  }
}
