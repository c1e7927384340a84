import type {
  BatchSize,
  FrontRequest,
  FrontRequests,
  PositionLogprobs,
  SequenceEnd,
  SequenceOutput,
} from '@quire/core';
import { fromErrorData } from './errors.ts';
import { type Frame, FrameError, FrameKind } from './frames.ts';
import { checkHead, failureSchema } from './messages.ts';
import { type BeamOutput, type RemoteStats, readRecords, type StepVisitor } from './step-records.ts';
import { Wakes } from './wakes.ts';
import { WordReader } from './words.ts';

export interface ReceiverHooks {
  /** The front end ended a completion of a request that the engine still computes; null: all of it. */
  abort(request: number, sequence: number | null): void;
  /** The request gained a token, or ended; or `numComputed` tokens of it are computed. */
  progressed(request: FrontRequest, numComputed?: number): void;
  stats(stats: RemoteStats): void;
}

/** Gives requests what the engine says of them. Each stream is told once per frame at most. */
export class StepReceiver implements StepVisitor {
  readonly #front: FrontRequests;
  readonly #inside: Map<number, FrontRequest>;
  readonly #hooks: ReceiverHooks;
  readonly #wakes = new Wakes();

  /** `inside`: the requests that the engine has; those that end leave it. */
  constructor(front: FrontRequests, inside: Map<number, FrontRequest>, hooks: ReceiverHooks) {
    this.#front = front;
    this.#inside = inside;
    this.#hooks = hooks;
  }

  /** Throws FrameError for what cannot be true. */
  receive({ kind, head, words }: Frame): void {
    try {
      if (kind === FrameKind.step || kind === FrameKind.heartbeat) readRecords(new WordReader(words), this);
      else if (kind === FrameKind.failure) this.#fail(head);
      else throw new FrameError(`A frame of kind ${kind} is none that an engine sends.`);
    } finally {
      this.#wakes.flush();
    }
  }

  stats(stats: RemoteStats): void {
    this.#hooks.stats(stats);
  }

  scheduled(name: number, waited: number, numCachedTokens: number): void {
    const request = this.#inside.get(name);
    if (request !== undefined) this.#front.scheduled(request, waited, numCachedTokens);
  }

  reached(name: number, numComputed: number): void {
    const request = this.#inside.get(name);
    if (request !== undefined) this.#hooks.progressed(request, numComputed);
  }

  prompt(name: number, position: number, logprobs: PositionLogprobs): void {
    const request = this.#inside.get(name);
    if (request !== undefined) this.#front.takePromptLogprobs(request, position, logprobs);
  }

  tokens(
    name: number,
    index: number,
    start: number,
    tokens: Uint32Array,
    logprobs: readonly PositionLogprobs[] | null,
  ): void {
    const found = this.#find(name, index);
    if (found === null) return;
    const [request, sequence] = found;
    const { numOutputTokens } = sequence.request;
    if (start !== numOutputTokens) {
      throw new FrameError(`A completion of ${numOutputTokens} tokens goes on with the ${start}th.`);
    }
    this.#checkTokens(tokens);
    const isStopped = this.#front.take(sequence, tokens, logprobs);
    this.#told(name, request, isStopped ? index : null);
  }

  beam(name: number, index: number, output: BeamOutput): void {
    const found = this.#find(name, index);
    if (found === null) return;
    this.#checkTokens(output.tokens);
    this.#front.takeBeam(found[1], output);
    this.#told(name, found[0], null);
  }

  pooled(name: number, values: Float32Array): void {
    const found = this.#find(name, 0);
    if (found === null) return;
    const width = this.#front.limits.pooling?.width ?? 0;
    if (values.length !== width) {
      throw new FrameError(`A request has ${values.length} values of hidden states, where the model has ${width}.`);
    }
    this.#front.takePooled(found[0], values);
    this.#told(name, found[0], null);
  }

  end(name: number, index: number, end: SequenceEnd): void {
    const found = this.#find(name, index);
    if (found === null) return;
    this.#front.end(found[1], end);
    this.#told(name, found[0], null);
  }

  step(batch: BatchSize, numGenerationTokens: number, milliseconds: number): void {
    this.#front.report(batch, numGenerationTokens, milliseconds);
  }

  #fail(head: unknown): void {
    const { request: name, sequence: index, error } = checkHead(failureSchema, head, 'failure');
    const request = this.#inside.get(name);
    if (request === undefined) return;
    if (index === null) {
      this.#front.refuse(request.group, fromErrorData(error));
      this.#told(name, request, null);
      return;
    }
    const found = this.#find(name, index);
    if (found === null) return;
    this.#front.fail(found[1], fromErrorData(error));
    this.#told(name, request, null);
  }

  /** A completion that goes on here; null for one that ended, which the engine may not know yet. */
  #find(name: number, index: number): [FrontRequest, SequenceOutput] | null {
    const request = this.#inside.get(name);
    if (request === undefined) return null;
    const sequence = request.sequences[index];
    if (sequence === undefined) {
      throw new FrameError(`A request of ${request.sequences.length} completions has one of index ${index}.`);
    }
    return sequence.finishReason === null ? [request, sequence] : null;
  }

  #checkTokens(tokens: ArrayLike<number>): void {
    const { vocabSize } = this.#front.limits;
    for (let i = 0; i < tokens.length; i++) {
      if (tokens[i]! < vocabSize) continue;
      throw new FrameError(`A completion has the token ${tokens[i]}, outside the ${vocabSize} logits.`);
    }
  }

  /** `stopped`: the index of a completion that was ended here. */
  #told(name: number, request: FrontRequest, stopped: number | null): void {
    const { group } = request;
    this.#wakes.add(group);
    const isOver = group.isFinished || group.failure !== null;
    if (isOver) this.#inside.delete(name);
    if (stopped !== null) this.#hooks.abort(name, isOver ? null : stopped);
    this.#hooks.progressed(request);
  }
}
