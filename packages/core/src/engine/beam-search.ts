import type { StepLogprobs } from '../worker/types.ts';
import type { RequestGroup, SequenceOutput, SequenceSearch } from './output-processor.ts';
import type { PositionLogprobs, SequenceEnd } from './outputs.ts';
import type { Scheduler } from './scheduler.ts';
import { positionLogprobs } from './step-logprobs.ts';
import { LENGTH, stopOf } from './update-sequence.ts';

/** A beam and one more token. */
interface Extension {
  /** Which beam. */
  slot: number;
  token: number;
  /** Cumulative log-probability with the token. */
  total: number;
  /** Why it ends here, or null. */
  end: SequenceEnd | null;
}

interface FinishedBeam {
  tokens: readonly number[];
  total: number;
  score: number;
  end: SequenceEnd;
  logprobs: PositionLogprobs[] | null;
}

/**
 * Beam search as in vLLM 0.2: all beams of a group make one step, then the 2 * width most likely extensions of all of them are
 * looked at. Those that end are kept among the `width` best finished ones; of the others the `width` most likely run on. A beam
 * that goes on keeps its row; a further one of the same parent begins with a fork of its blocks; one without successor gives its
 * row back.
 *
 * score = cumulative log-probability / length ^ lengthPenalty, where the length counts the prompt, and not a final EOS.
 */
export class BeamSearch implements SequenceSearch {
  readonly #group: RequestGroup;
  readonly #width: number;
  readonly #numCandidates: number;
  readonly #eos: ReadonlySet<number>;
  /** Of each slot, its most likely next tokens in order, once it is ready. */
  readonly #ids: Uint32Array;
  readonly #logprobs: Float64Array;
  readonly #positions: (PositionLogprobs | null)[];
  readonly #totals: Float64Array;
  /** Slots of the beams that run, the most likely first: equal extensions keep this order. */
  #live = [0];
  readonly #isReady: Uint8Array;
  #histories: PositionLogprobs[][];
  #finished: FinishedBeam[] = [];

  constructor(group: RequestGroup, numCandidates: number, eos: ReadonlySet<number>) {
    const width = group.params.bestOf;
    this.#group = group;
    this.#width = width;
    this.#numCandidates = numCandidates;
    this.#eos = eos;
    this.#ids = new Uint32Array(width * numCandidates);
    this.#logprobs = new Float64Array(width * numCandidates);
    this.#positions = Array.from({ length: width }, () => null);
    this.#histories = Array.from({ length: width }, () => []);
    this.#totals = new Float64Array(width);
    this.#isReady = new Uint8Array(width);
  }

  /** The beam is held until the others have their candidates. */
  take(beam: SequenceOutput, step: StepLogprobs, sample: number): void {
    const slot = beam.index;
    beam.request.isHeld = true;
    const [ids, values] = [sample * (2 + step.topN) + 2, sample * (1 + step.topN) + 1];
    for (let i = 0; i < this.#numCandidates; i++) {
      this.#ids[slot * this.#numCandidates + i] = step.ids[ids + i]!;
      this.#logprobs[slot * this.#numCandidates + i] = step.logprobs[values + i]!;
    }
    if (this.#group.params.logprobs !== null) this.#positions[slot] = positionLogprobs(step, sample, step.topN);
    this.#isReady[slot] = 1;
  }

  advance(scheduler: Scheduler): boolean {
    if (this.#live.some(slot => this.#isReady[slot] === 0)) return false;
    this.#isReady.fill(0);
    const extensions = this.#extensions();
    const running = extensions.filter(({ end }) => end === null).slice(0, this.#width);
    this.#keepFinished(extensions);
    if (this.#isOver(running[0])) return true;
    this.#run(running, scheduler);
    return false;
  }

  /** The best beams come first: finished ones, then those that `end` cuts short. */
  settle(end: SequenceEnd): SequenceEnd[] {
    const { n } = this.#group.params;
    const found = [...this.#finished, ...this.#unfinished(end)].slice(0, n);
    found.forEach((beam, i) => {
      this.#group.sequences[i]!.setOutput(beam.tokens, beam.total, beam.logprobs, beam.end);
    });
    return this.#group.sequences.map((_, i) => found[i]?.end ?? end);
  }

  #extensions(): Extension[] {
    const all: Extension[] = [];
    for (const slot of this.#live) {
      for (let i = slot * this.#numCandidates; i < (slot + 1) * this.#numCandidates; i++) {
        const token = this.#ids[i]!;
        const end = this.#endOf(slot, token);
        if (end !== 'masked') all.push({ slot, token, total: this.#totals[slot]! + this.#logprobs[i]!, end });
      }
    }
    return all.sort((a, b) => b.total - a.total).slice(0, 2 * this.#width);
  }

  #endOf(slot: number, token: number): SequenceEnd | null | 'masked' {
    const { request } = this.#group.sequences[slot]!;
    const { params } = this.#group;
    const stop = stopOf(params, token, this.#eos);
    if (request.numOutputTokens < params.minTokens && (stop !== null || this.#eos.has(token))) return 'masked';
    if (stop !== null) return stop;
    return request.numTokens + 1 >= request.tokenLimit ? LENGTH : null;
  }

  /** The best of those finished before and now; of equal ones those from before. */
  #keepFinished(extensions: readonly Extension[]): void {
    const ended = extensions.flatMap(({ slot, token, total, end }) =>
      end === null ? [] : [this.#finish(slot, token, total, end)],
    );
    this.#finished = [...this.#finished, ...ended].sort((a, b) => b.score - a.score).slice(0, this.#width);
  }

  #finish(slot: number, token: number, total: number, end: SequenceEnd): FinishedBeam {
    const { request } = this.#group.sequences[slot]!;
    const length = request.numTokens + (this.#eos.has(token) ? 0 : 1);
    const score = beamScore(total, length, this.#group.params.lengthPenalty);
    const logprobs = this.#history(slot, token);
    return { tokens: [...request.outputTokens(), token], total, score, end, logprobs };
  }

  /** Beams that still run, the best first. */
  #unfinished(end: SequenceEnd): FinishedBeam[] {
    const { lengthPenalty, logprobs } = this.#group.params;
    const beams = this.#live.map(slot => {
      const { request } = this.#group.sequences[slot]!;
      const tokens = request.outputTokens();
      const total = this.#totals[slot]!;
      const score = beamScore(total, request.numTokens, lengthPenalty);
      return { tokens, total, score, end, logprobs: logprobs === null ? null : this.#histories[slot]! };
    });
    return beams.sort((a, b) => b.score - a.score);
  }

  #isOver(best: Extension | undefined): boolean {
    if (best === undefined) return true;
    if (this.#finished.length < this.#width) return false;
    const { earlyStopping, lengthPenalty } = this.#group.params;
    if (earlyStopping === true) return true;
    const { request } = this.#group.sequences[best.slot]!;
    // With a positive penalty a sum of negative numbers looks the better the longer the beam becomes.
    const length = earlyStopping === 'never' && lengthPenalty > 0 ? request.tokenLimit : request.numTokens + 1;
    return this.#finished.at(-1)!.score >= beamScore(best.total, length, lengthPenalty);
  }

  #run(running: readonly Extension[], scheduler: Scheduler): void {
    const parents = new Set(running.map(({ slot }) => slot));
    const free = this.#group.sequences.map((_, slot) => slot).filter(slot => !parents.has(slot));
    for (const slot of this.#live) if (!parents.has(slot)) scheduler.withdraw(this.#group.sequences[slot]!.request);
    const histories = [...this.#histories];
    const heirs = new Map<number, Extension>();
    this.#live = running.map(extension => {
      const slot = heirs.has(extension.slot) ? free.shift()! : extension.slot;
      if (slot === extension.slot) heirs.set(slot, extension);
      else this.#fork(slot, extension, histories, scheduler);
      return slot;
    });
    for (const extension of heirs.values()) this.#continue(extension, histories);
    this.#histories = histories;
  }

  /** A second successor of a beam: it begins with its parent's tokens, and shares their blocks when it gets a row. */
  #fork(
    slot: number,
    { slot: parentSlot, token, total }: Extension,
    histories: PositionLogprobs[][],
    scheduler: Scheduler,
  ) {
    const { request } = this.#group.sequences[slot]!;
    const parent = this.#group.sequences[parentSlot]!.request;
    request.copyTokens(parent, parent.numTokens);
    request.append(token);
    request.isHeld = false;
    this.#totals[slot] = total;
    histories[slot] = this.#history(parentSlot, token) ?? [];
    scheduler.requeue(request);
  }

  #continue({ slot, token, total }: Extension, histories: PositionLogprobs[][]): void {
    histories[slot] = this.#history(slot, token) ?? [];
    this.#totals[slot] = total;
    this.#group.sequences[slot]!.request.choose(token);
  }

  /** Log-probabilities of a beam with one more token, null where nobody asked. */
  #history(slot: number, token: number): PositionLogprobs[] | null {
    const { logprobs } = this.#group.params;
    if (logprobs === null) return null;
    const { top } = this.#positions[slot]!;
    const chosen = top.find(({ tokenId }) => tokenId === token)!;
    return [...this.#histories[slot]!, { ...chosen, top: top.slice(0, logprobs) }];
  }
}

export function beamScore(total: number, length: number, lengthPenalty: number): number {
  return total / length ** lengthPenalty;
}
