import type { AsyncLLM, EngineObserver, RequestGroup, SequenceOutput, StepReport, StepTrace } from '@quire/core';
import { InvalidRequestError } from '@quire/core';
import { type ErrorData, toErrorData } from './errors.ts';
import type { EngineAsk } from './params.ts';
import { type RemoteStats, StepWriter } from './step-records.ts';
import { TraceGate } from './trace-gate.ts';

/** About as many words as the front end takes in one turn of its event loop: more go in further frames. */
const FRAME_WORDS = 2048;

/** A request of the front end, and how much of it the front end knows. */
interface Followed {
  readonly request: number;
  readonly group: RequestGroup;
  /** In order of index, also when only some are returned. */
  readonly sequences: readonly { readonly output: SequenceOutput; sent: number; isOver: boolean }[];
  promptSent: number;
  isScheduled: boolean;
  isDirty: boolean;
}

/** An error that ends a completion of a request, or all of it (null). */
export interface Failure {
  readonly request: number;
  readonly sequence: number | null;
  readonly error: ErrorData;
}

export interface FeedOutlet {
  /** The other end reads so slowly that frames pile up: what is new waits, and goes as one. */
  readonly isFull: boolean;
  step(words: Uint32Array): void;
  /** The state of the engine, where no step tells it. */
  stats(words: Uint32Array): void;
  trace(trace: StepTrace): void;
  failure(failure: Failure): void;
  /** The engine gave up: only another process can go on. */
  closed(): void;
}

/**
 * The requests of an engine as they go to the front end: what is new of all of them leaves after each step, as one frame
 * or a few. Nothing is queued: frames are made of what has not been sent when they leave.
 */
export class EngineFeed implements EngineObserver {
  /** Open while somebody watches the steps. */
  readonly gate = new TraceGate(() => this.#engine!.stats());
  readonly #outlet: FeedOutlet;
  readonly #followed = new Map<number, Followed>();
  readonly #writer = new StepWriter();
  #engine: AsyncLLM | null = null;
  /** Searches, which tell nothing of themselves before their end. */
  readonly #beams = new Set<Followed>();
  #dirty: Followed[] = [];
  #steps: StepReport[] = [];
  #failures: Failure[] = [];
  #isDue = false;
  /** A request was ended from outside: there may be no further step that tells what is free now. */
  #hasFreed = false;

  constructor(outlet: FeedOutlet) {
    this.#outlet = outlet;
  }

  /** The engine, which was opened with this as its observer. */
  set engine(engine: AsyncLLM) {
    this.#engine = engine;
  }

  add({ request, resolved, options }: EngineAsk): void {
    try {
      if (this.#followed.has(request)) throw new InvalidRequestError(`There is a request ${request} already.`);
      this.#follow(request, this.#engine!.enqueue(resolved, options));
    } catch (error) {
      this.#failures.push({ request, sequence: null, error: toErrorData(error) });
      this.#wake();
    }
  }

  /** Ends a request that the front end has ended, or one completion of it. */
  abort(request: number, sequence: number | null): void {
    const followed = this.#followed.get(request);
    if (followed === undefined) return;
    this.#hasFreed = true;
    this.#wake();
    if (sequence === null) {
      followed.group.onChange = null;
      this.#followed.delete(request);
      this.#engine!.abortGroup(followed.group);
    } else {
      const { output } = followed.sequences[sequence]!;
      this.#engine!.abortGroup(followed.group, output);
    }
  }

  onStep(report: StepReport): void {
    this.#steps.push(report);
    for (const followed of this.#beams) this.#mark(followed);
    this.#wake();
  }

  get wantsTrace(): boolean {
    return !this.#outlet.isFull && this.gate.isDue;
  }

  onTrace(trace: StepTrace): void {
    this.gate.passed();
    this.#outlet.trace(trace);
  }

  /** Sends what is new, unless the other end has no room. */
  flush(): void {
    this.#isDue = false;
    if (this.#engine!.closed) this.#outlet.closed();
    if (this.#engine!.closed || this.#outlet.isFull) return;
    for (const followed of this.#dirty.splice(0)) {
      this.#write(followed);
      if (this.#writer.length > FRAME_WORDS) this.#outlet.step(this.#writer.take());
    }
    for (const { numGenerationTokens, milliseconds, ...batch } of this.#steps.splice(0)) {
      this.#writer.step(batch, numGenerationTokens, milliseconds);
    }
    const hasNews = this.#writer.length > 0;
    const isTold = hasNews || this.#hasFreed;
    this.#hasFreed = false;
    if (isTold) {
      this.#writer.stats(this.stats());
      this.#outlet[hasNews ? 'step' : 'stats'](this.#writer.take());
    }
    for (const failure of this.#failures.splice(0)) this.#outlet.failure(failure);
  }

  stats(): RemoteStats {
    return this.#engine!.stats();
  }

  #follow(request: number, group: RequestGroup): void {
    const sequences = group.sequences.map(output => ({
      output,
      sent: output.request.numOutputTokens,
      isOver: output.finishReason !== null,
    }));
    const followed = { request, group, sequences, promptSent: 1, isScheduled: false, isDirty: false };
    this.#followed.set(request, followed);
    group.onChange = () => this.#mark(followed);
    if (group.params.useBeamSearch) this.#beams.add(followed);
    if (group.version > 0) this.#mark(followed);
  }

  #mark(followed: Followed): void {
    if (followed.isDirty) return;
    followed.isDirty = true;
    this.#dirty.push(followed);
    this.#wake();
  }

  /** After the step that is being read, or whatever else is going on. */
  #wake(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => this.flush());
  }

  #write(followed: Followed): void {
    const { request, group } = followed;
    followed.isDirty = false;
    if (!this.#followed.has(request)) {
      this.#beams.delete(followed);
      return;
    }
    if (group.failure !== null) {
      this.#failures.push({ request, sequence: null, error: toErrorData(group.failure) });
      this.#followed.delete(request);
      return;
    }
    this.#writeStart(followed);
    if (group.params.useBeamSearch) this.#writeBeams(followed);
    else if (group.pooled !== null) this.#writer.pooled(request, group.pooled);
    else for (const index of followed.sequences.keys()) this.#writeSequence(followed, index);
    if (group.isFinished) this.#followed.delete(request);
    if (group.isFinished) this.#beams.delete(followed);
  }

  #writeStart(followed: Followed): void {
    const { request, group } = followed;
    const { arrival, firstScheduled } = group.metrics;
    if (!followed.isScheduled && firstScheduled !== null) {
      followed.isScheduled = true;
      this.#writer.scheduled(request, firstScheduled - arrival, group.numCachedTokens);
    }
    const { promptLogprobs } = group;
    const outputs = followed.sequences.map(({ output }) => output.request);
    if (group.params.useBeamSearch || outputs.every(({ numOutputTokens }) => numOutputTokens === 0)) {
      this.#writer.reached(request, Math.max(...outputs.map(({ numComputed }) => numComputed)));
    }
    if (promptLogprobs === null) return;
    for (; followed.promptSent < promptLogprobs.length; followed.promptSent++) {
      this.#writer.prompt(request, followed.promptSent, promptLogprobs[followed.promptSent]!);
    }
  }

  #writeSequence({ request, group }: Followed, index: number): void {
    const sequence = this.#followed.get(request)!.sequences[index]!;
    const { output } = sequence;
    if (sequence.isOver) return;
    const { numOutputTokens } = output.request;
    if (numOutputTokens > sequence.sent) {
      const count = numOutputTokens - sequence.sent;
      const logprobs = output.logprobs?.slice(-count) ?? null;
      this.#writer.tokens(request, index, sequence.sent, output.request.outputTokens(sequence.sent), logprobs);
      sequence.sent = numOutputTokens;
    }
    const { finishReason: reason, stopReason } = output;
    if (reason === null) return;
    sequence.isOver = true;
    if (reason === 'error') this.#failures.push({ request, sequence: index, error: toErrorData(group.error) });
    else this.#writer.end(request, index, { reason, stopReason });
  }

  /** Nothing of a search is known before its end. */
  #writeBeams({ request, group, sequences }: Followed): void {
    if (!group.isFinished) return;
    for (const [index, { output }] of sequences.entries()) {
      const { finishReason: reason, stopReason, logprobs, cumulativeLogprob } = output;
      if (reason === 'error') {
        this.#failures.push({ request, sequence: index, error: toErrorData(group.error) });
        continue;
      }
      // The others are what the search has left over.
      if (index >= group.params.n) {
        this.#writer.end(request, index, { reason: reason!, stopReason });
        continue;
      }
      const tokens = output.request.outputTokens();
      this.#writer.beam(request, index, {
        tokens,
        total: cumulativeLogprob ?? 0,
        logprobs,
        end: { reason: reason!, stopReason },
      });
    }
  }
}
