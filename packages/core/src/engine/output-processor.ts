import type { ResolvedSamplingParams } from '../sampling/sampling-params.ts';
import type { Tokenizer } from '../tokenizer/types.ts';
import type { StepLogprobs } from '../worker/types.ts';
import type { FinishReason, PositionLogprobs, RequestMetrics, SequenceEnd } from './outputs.ts';
import type { Prompt } from './prompt.ts';
import { Request, type RequestInit } from './request.ts';
import type { Scheduler } from './scheduler.ts';
import { positionLogprobs } from './step-logprobs.ts';
import { TextStream } from './text-stream.ts';

/** One completion of a request: its tokens (in `request`), and what became of them. */
export class SequenceOutput {
  index: number;
  readonly group: RequestGroup;
  readonly request: Request;
  logprobs: PositionLogprobs[] | null;
  cumulativeLogprob: number | null;
  finishReason: FinishReason | null = null;
  stopReason: string | number | null = null;
  readonly #text: TextStream | null;

  constructor(group: RequestGroup, index: number, init: Omit<RequestInit, 'owner'>, tokenizer: Tokenizer | null) {
    const { params } = init;
    this.group = group;
    this.index = index;
    this.request = new Request({ ...init, owner: this });
    this.logprobs = group.params.logprobs === null ? null : [];
    this.cumulativeLogprob = params.logprobs === null ? null : 0;
    this.#text =
      params.detokenize && tokenizer !== null ? new TextStream(tokenizer, group.prompt.tokenIds, params) : null;
  }

  /** Its tokens are only kept: they make no text, and end it only as EOS or at its limit. */
  get isTokensOnly(): boolean {
    return this.#text === null && this.request.params.stopTokenIds.size === 0;
  }

  /** Text that can no longer change. */
  get text(): string {
    return this.#text?.text ?? '';
  }

  /** Turns a token into text. Returns the stop string that it completed, or null. */
  pushText(token: number): string | null {
    return this.#text?.push(token, this.request.numOutputTokens) ?? null;
  }

  /** The log-probabilities of a sample; `own`: those that the host computed for it. */
  pushLogprobs(step: StepLogprobs, sample: number, own: PositionLogprobs | undefined): void {
    if (this.cumulativeLogprob === null) return;
    if (own !== undefined || this.logprobs !== null) {
      this.addLogprobs(own ?? positionLogprobs(step, sample, this.request.params.logprobs!));
    } else {
      this.cumulativeLogprob += step.logprobs[sample * (1 + step.topN)]!;
    }
  }

  /** The log-probabilities of its latest token, where they count. */
  addLogprobs(position: PositionLogprobs): void {
    if (this.cumulativeLogprob === null) return;
    this.cumulativeLogprob += position.logprob;
    this.logprobs?.push(position);
  }

  /** Takes over a beam's output, all at once. The text of the token that stopped it is shown only where asked. */
  setOutput(tokens: readonly number[], total: number, logprobs: PositionLogprobs[] | null, end: SequenceEnd): void {
    this.request.setOutput(tokens);
    this.cumulativeLogprob = total;
    this.logprobs = logprobs;
    const hidden = end.reason === 'stop' && !this.request.params.includeStopStrInOutput ? 1 : 0;
    for (const token of tokens.slice(0, tokens.length - hidden)) this.pushText(token);
  }

  finish(reason: FinishReason, stopReason: string | number | null): void {
    this.#text?.finish();
    this.finishReason = reason;
    this.stopReason = stopReason;
    this.group.numUnfinished--;
  }
}

/** Decides how the sequences of a group go on, where the device does not. */
export interface SequenceSearch {
  /** Takes what a step found for a sequence: its most likely next tokens. */
  take(sequence: SequenceOutput, step: StepLogprobs, sample: number): void;
  /** Moves all sequences on once each has been taken. Returns whether the search is over. */
  advance(scheduler: Scheduler): boolean;
  /** Gives the group's sequences their outputs; those that still run are ended by `end`. Returns how each ended. */
  settle(end: SequenceEnd): SequenceEnd[];
}

/** A request as its caller knows it: one prompt, and `n` completions. */
export class RequestGroup {
  readonly id: string;
  readonly prompt: Prompt;
  readonly params: ResolvedSamplingParams;
  /** Completions in order of index; once it has finished, the n that are returned. */
  sequences: SequenceOutput[] = [];
  /** Set for beam search: decides how the sequences go on. */
  beams: SequenceSearch | null = null;
  readonly promptLogprobs: (PositionLogprobs | null)[] | null;
  readonly metrics: RequestMetrics;
  numUnfinished: number;
  /** It began with outputs of another engine: its completions need not wait for the first. */
  isResumed = false;
  /** Why a completion ended with reason `error`. */
  error: Error | null = null;
  /** Of a model that makes embeddings, once its prompt is computed: f32 [width], the last hidden state or the mean of all. */
  pooled: Float32Array | null = null;
  /** Set when the engine failed as a whole: there will be no further output. */
  failure: Error | null = null;
  /** Raised by every change. */
  version = 0;
  /** Called after changes, once per step at most. */
  onChange: (() => void) | null = null;
  /** Computes the prompt. */
  #leader: SequenceOutput | null = null;

  constructor(id: string, prompt: Prompt, params: ResolvedSamplingParams, arrival: number) {
    this.id = id;
    this.prompt = prompt;
    this.params = params;
    this.numUnfinished = params.bestOf;
    this.promptLogprobs = params.promptLogprobs === null ? null : [null];
    this.metrics = { arrival, firstScheduled: null, firstToken: null, finished: null };
  }

  get isFinished(): boolean {
    return this.numUnfinished === 0;
  }

  add(sequence: SequenceOutput): void {
    this.#leader ??= sequence;
    this.sequences.push(sequence);
  }

  /** Prompt tokens found in the prefix cache when it first ran. */
  get numCachedTokens(): number {
    return Math.max(0, this.#leader?.request.numCachedTokens ?? 0);
  }

  /** Which completions are returned is known only when all have ended. */
  get choosesAtEnd(): boolean {
    return this.params.bestOf > this.params.n || this.params.useBeamSearch;
  }

  /** Keeps the n completions of the largest cumulative log-probability. Beams come ranked. */
  chooseBest(): void {
    const { n, bestOf, useBeamSearch } = this.params;
    if (bestOf === n) return;
    const logprob = (sequence: SequenceOutput) => sequence.cumulativeLogprob ?? -Infinity;
    const ranked = useBeamSearch ? this.sequences : this.sequences.toSorted((a, b) => logprob(b) - logprob(a));
    this.sequences = ranked.slice(0, n);
    this.sequences.forEach((sequence, index) => {
      sequence.index = index;
    });
  }

  get numGenerationTokens(): number {
    return this.sequences.reduce((sum, sequence) => sum + sequence.request.numOutputTokens, 0);
  }

  /** Log-probabilities of the prompt token at `position`; those that came before preemption are kept. */
  pushPromptLogprobs(request: Request, step: StepLogprobs, sample: number, position: number): void {
    if (this.promptLogprobs === null || position !== this.promptLogprobs.length) return;
    this.addPromptLogprobs(request, positionLogprobs(step, sample, this.params.promptLogprobs!));
  }

  /** Those of the next prompt token. */
  addPromptLogprobs(request: Request, next: PositionLogprobs): void {
    if (this.promptLogprobs === null) return;
    request.numPromptLogprobs = this.promptLogprobs.length;
    this.promptLogprobs.push(next);
  }

  notify(): void {
    this.version++;
    this.onChange?.();
  }
}
