import type { StepResult } from '../worker/types.ts';
import { DecodeResults } from './decode-results.ts';
import type { GrammarGate } from './grammar-gate.ts';
import type { SequenceOutput } from './output-processor.ts';
import type { SequenceEnd } from './outputs.ts';
import type { RequestRegistry } from './request-registry.ts';
import type { Scheduler } from './scheduler.ts';
import type { StepBatch } from './step-batch.ts';
import type { StepReporter } from './step-reporter.ts';
import { LENGTH, type SequenceUpdate, updateBeam, updateSequence, updateSpeculated } from './update-sequence.ts';

export interface StepResultsOptions {
  eos: ReadonlySet<number>;
  vocabSize: number;
  requests: RequestRegistry;
  gate: GrammarGate;
  reporter: StepReporter;
}

/** Gives what steps computed to the sequences they computed it for: tokens, and what these lead to. */
export class StepResults {
  readonly #eos: ReadonlySet<number>;
  readonly #vocabSize: number;
  readonly #requests: RequestRegistry;
  readonly #gate: GrammarGate;
  readonly #reporter: StepReporter;
  readonly #decodes: DecodeResults;

  constructor({ eos, vocabSize, requests, gate, reporter }: StepResultsOptions) {
    this.#eos = eos;
    this.#vocabSize = vocabSize;
    this.#requests = requests;
    this.#gate = gate;
    this.#reporter = reporter;
    this.#decodes = new DecodeResults(reporter, eos, vocabSize);
  }

  /** Returns how many tokens sequences gained. What a request lost with its row is dropped. */
  take(batch: StepBatch, result: StepResult, scheduler: Scheduler, now: number): number {
    const update = { batch, result, eos: this.#eos, vocabSize: this.#vocabSize };
    let tokens = 0;
    for (let i = 0; i < batch.numSequences; i++) {
      i = this.#decodes.take(i, update, scheduler, now);
      if (i === batch.numSequences) break;
      if (batch.isCurrent(i)) tokens += this.#update(i, update, scheduler, now);
      // The entries behind it checked its drafts.
      i += batch.numDrafts(i);
    }
    return tokens + this.#decodes.takeCount();
  }

  /** Returns how many tokens the sequence gained. Whatever goes wrong here ends this sequence only. */
  #update(i: number, update: SequenceUpdate, scheduler: Scheduler, now: number): number {
    const request = update.batch.request(i);
    const sequence = request.owner as SequenceOutput;
    const before = request.numTokens;
    try {
      if (request.needsHost && sequence.group.beams !== null)
        return this.#updateBeam(sequence, i, update, scheduler, now);
      const end =
        update.batch.numDrafts(i) > 0 ? verify(sequence, i, update, scheduler) : updateSequence(sequence, i, update);
      if (request.numTokens > before) this.#reporter.gained(sequence, request.numTokens - before, now);
      scheduler.registerKnown(request);
      if (request.isSuspect && request.numTokens > before) scheduler.suspects.acquit(request);
      if (end !== null) this.#requests.end(sequence, end);
      else if (request.numTokens > before) this.#follow(sequence);
    } catch (cause) {
      this.#requests.endWithError(sequence, cause);
    }
    sequence.group.notify();
    return request.numTokens - before;
  }

  /** What comes behind tokens that did not end their sequence. */
  #follow(sequence: SequenceOutput): void {
    this.#gate.follow(sequence);
    if (sequence.request.onlyDecodes) sequence.request.decode(sequence.isTokensOnly ? sequence.group : null);
  }

  /** The last beam of a group that has its candidates moves all of them on. Returns how many tokens this beam gained. */
  #updateBeam(beam: SequenceOutput, i: number, update: SequenceUpdate, scheduler: Scheduler, now: number): number {
    updateBeam(beam, i, update);
    if (update.batch.appends(i) === 0) return 0;
    if (beam.request.isSuspect) scheduler.suspects.acquit(beam.request);
    this.#reporter.gained(beam, 1, now);
    if (beam.group.beams!.advance(scheduler)) this.#requests.endGroup(beam.group, LENGTH);
    return 1;
  }
}

function verify(sequence: SequenceOutput, i: number, update: SequenceUpdate, scheduler: Scheduler): SequenceEnd | null {
  const { end, accepted } = updateSpeculated(sequence, i, update);
  scheduler.accept(sequence.request, accepted);
  return end;
}
