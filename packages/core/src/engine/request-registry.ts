import { EngineError, QuireError } from '../errors.ts';
import type { RequestGroup, SequenceOutput } from './output-processor.ts';
import type { FinishReason, SequenceEnd } from './outputs.ts';
import type { Request } from './request.ts';

export interface RegistryHooks {
  /** Takes a sequence out of the schedule; `discard`: what it computed must not be used by others. */
  release(request: Request, discard: boolean): void;
  finished(group: RequestGroup): void;
  /** Milliseconds on the engine's clock. */
  clock(): number;
}

/** The requests that an engine serves, and the ways in which they end. Each ends once. */
export class RequestRegistry {
  readonly #hooks: RegistryHooks;
  readonly #groups = new Set<RequestGroup>();
  /** Requests that ended, by the reason of their first completion. */
  readonly finished: Record<FinishReason, number> = { stop: 0, length: 0, abort: 0, error: 0 };

  constructor(hooks: RegistryHooks) {
    this.#hooks = hooks;
  }

  get size(): number {
    return this.#groups.size;
  }

  /** A copy, so that requests may end while it is gone through. */
  all(): RequestGroup[] {
    return [...this.#groups];
  }

  has(group: RequestGroup): boolean {
    return this.#groups.has(group);
  }

  add(group: RequestGroup): void {
    this.#groups.add(group);
  }

  end(sequence: SequenceOutput, { reason, stopReason }: SequenceEnd): void {
    if (sequence.finishReason !== null) return;
    this.#hooks.release(sequence.request, reason === 'error');
    sequence.request.constraint?.close();
    sequence.finish(reason, stopReason);
    const { group } = sequence;
    if (!group.isFinished) return;
    group.chooseBest();
    group.metrics.finished = this.#hooks.clock();
    this.#groups.delete(group);
    this.finished[group.sequences[0]!.finishReason!]++;
    this.#hooks.finished(group);
  }

  /** Ends all completions that have not ended. Beams end as they were found, unless their search failed. */
  endGroup(group: RequestGroup, end: SequenceEnd): void {
    if (group.isFinished) return;
    const ends = group.beams?.settle(end);
    group.sequences.forEach((sequence, i) => {
      this.end(sequence, end.reason === 'error' ? end : (ends?.[i] ?? end));
    });
    group.notify();
  }

  /** The sequence ends with reason `error`, and its request carries the error. */
  endWithError(sequence: SequenceOutput, cause: unknown): void {
    const { group } = sequence;
    group.error ??=
      cause instanceof QuireError ? cause : new EngineError(`The request failed: ${message(cause)}`, { cause });
    const end: SequenceEnd = { reason: 'error', stopReason: null };
    // Beams are one search: none goes on without the others.
    if (group.beams !== null) this.endGroup(group, end);
    else this.end(sequence, end);
    group.notify();
  }

  /** The request gives no output any more: its consumer gets the error. */
  refuse(group: RequestGroup, error: Error): void {
    this.#groups.delete(group);
    for (const { request } of group.sequences) {
      this.#hooks.release(request, false);
      request.constraint?.close();
    }
    group.failure = error;
    group.notify();
  }
}

export function message(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
