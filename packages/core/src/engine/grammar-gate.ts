import { InvalidRequestError } from '../errors.ts';
import { readParams } from '../sampling/checks.ts';
import type { SamplingParams } from '../sampling/sampling-params.ts';
import type { GrammarService } from '../structured-output/grammar-service.ts';
import { checkStructuredOutputs, type GrammarSpec } from '../structured-output/structured-outputs.ts';
import type { RequestGroup, SequenceOutput } from './output-processor.ts';

/** What becomes of requests when their grammars have answered. None of these throws. */
export interface GrammarOutcomes {
  /** The first tokens of all completions are known: the request may be scheduled. */
  start(group: RequestGroup): void;
  /** A grammar cannot be used. */
  refuse(group: RequestGroup, cause: unknown): void;
  /** The text has ended: nothing may follow. */
  end(sequence: SequenceOutput): void;
  fail(sequence: SequenceOutput, cause: unknown): void;
}

/** Holds requests back while their grammars are compiled and matched off the engine's thread. */
export class GrammarGate {
  readonly #service: GrammarService | null;
  readonly #outcomes: GrammarOutcomes;
  readonly #pending = new Set<Promise<void>>();
  #wake: () => void = () => {};
  /** Requests that have not started. */
  numWaiting = 0;

  constructor(service: GrammarService | null, outcomes: GrammarOutcomes) {
    this.#service = service;
    this.#outcomes = outcomes;
  }

  get isBusy(): boolean {
    return this.#pending.size > 0;
  }

  /** Who matches the grammar of a request. Throws InvalidRequestError where there is a grammar and nobody to match it. */
  serviceFor(spec: GrammarSpec | null): GrammarService | null {
    if (spec === null || this.#service !== null) return this.#service;
    throw new InvalidRequestError(
      'structured_outputs are not available: this engine was opened without a thread that matches grammars.',
      'structured_outputs',
    );
  }

  /** Compiles the grammar of such a request, if it has one. Rejects with InvalidRequestError when that cannot be used. */
  async prepare(params: SamplingParams): Promise<void> {
    const spec = checkStructuredOutputs(readParams(params).get('structuredOutputs') ?? null);
    if (spec !== null) await this.serviceFor(spec)!.prepare(spec);
  }

  /** Lets a request start, now or when its grammars have said what may come first. */
  admit(group: RequestGroup): void {
    const pending = group.sequences.map(({ request }) => request.constraint?.pending ?? null).filter(p => p !== null);
    if (pending.length === 0) {
      this.#outcomes.start(group);
      return;
    }
    this.numWaiting++;
    const settled = Promise.all(pending).finally(() => {
      this.numWaiting--;
    });
    this.#await(
      settled,
      () => this.#outcomes.start(group),
      cause => this.#outcomes.refuse(group, cause),
    );
  }

  /** Follows what the grammar of a sequence makes of the token that it just got. */
  follow(sequence: SequenceOutput): void {
    const { constraint } = sequence.request;
    if (constraint === null || constraint.pending === null) return;
    this.#await(
      constraint.pending,
      () => constraint.isOver && this.#outcomes.end(sequence),
      cause => this.#outcomes.fail(sequence, cause),
    );
  }

  /** Resolves when the next answer is there, or something else happened: see `wake`. */
  async next(): Promise<void> {
    const woken = new Promise<void>(resolve => {
      this.#wake = resolve;
    });
    await Promise.race([...this.#pending, woken]);
  }

  /** Ends `next`: there may be something else to do. */
  wake(): void {
    this.#wake();
  }

  async dispose(): Promise<void> {
    await this.#service?.dispose();
  }

  #await(promise: Promise<unknown>, onDone: () => unknown, onFailure: (cause: unknown) => unknown): void {
    const pending: Promise<void> = promise.then(onDone, onFailure).then(() => {
      this.#pending.delete(pending);
    });
    this.#pending.add(pending);
  }
}
