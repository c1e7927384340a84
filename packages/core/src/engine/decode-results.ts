import { SAMPLE_FINITE, SAMPLE_LIVE } from '../contract/contract.ts';
import type { StepResult } from '../worker/types.ts';
import { Field, RECENT_TOKENS, RECORD_WORDS } from './running-rows.ts';
import type { Scheduler } from './scheduler.ts';
import type { StepReporter } from './step-reporter.ts';
import type { SequenceUpdate } from './update-sequence.ts';

const USABLE = SAMPLE_LIVE | SAMPLE_FINITE;

/**
 * Gives rows that decode the tokens that a step sampled for them, where nothing follows from these but more of them. It is what
 * `updateSequence` does for them, without a look at their requests.
 */
export class DecodeResults {
  readonly #reporter: StepReporter;
  /** u8 [vocabSize]: 1 where a token ends a sequence unless that ignores EOS. */
  readonly #isEos: Uint8Array;
  #numTokens = 0;

  constructor(reporter: StepReporter, eos: ReadonlySet<number>, vocabSize: number) {
    this.#reporter = reporter;
    this.#isEos = new Uint8Array(vocabSize);
    for (const token of eos) this.#isEos[token] = 1;
  }

  /** Goes on from the i-th sequence up to the first of which there is more to decide. Returns that one's index. */
  take(i: number, { batch, result }: SequenceUpdate, scheduler: Scheduler, now: number): number {
    const { tokenIds } = result;
    const { words, recent, listeners } = scheduler.rows;
    const { rows, numSequences } = batch;
    for (; i < numSequences; i++) {
      const row = rows[i]!;
      const listener = listeners[row]!;
      if (listener === null || !batch.isCurrent(i)) return i;
      const at = row * RECORD_WORDS;
      const appends = batch.appends(i);
      if (!this.#goOn(result, i, numSequences, appends, words, at)) return i;
      let length = words[at + Field.numTokens]!;
      for (let sample = i; sample < appends * numSequences; sample += numSequences) {
        recent[row * RECENT_TOKENS + (length++ % RECENT_TOKENS)] = tokenIds[sample]!;
        words[at + Field.numTokens] = length;
        if (length % RECENT_TOKENS === 0) batch.request(i).keepTokens();
      }
      this.#numTokens += appends;
      words[at + Field.numPlaceholders]! -= appends;
      this.#reporter.gainedMore(scheduler.rows, row, appends, now);
      const cachesAt = words[at + Field.cachesAt]!;
      if (length >= cachesAt && words[at + Field.numComputed]! >= cachesAt) scheduler.registerKnown(batch.request(i));
      listener.notify();
    }
    return i;
  }

  /** Tokens that sequences gained since the last call. */
  takeCount(): number {
    const count = this.#numTokens;
    this.#numTokens = 0;
    return count;
  }

  /** Whether the samples i, i + stride ... are usable and end nothing, for a row whose record is at `at`. */
  #goOn({ tokenIds, flags }: StepResult, i: number, stride: number, appends: number, words: Int32Array, at: number) {
    let length = words[at + Field.numTokens]! + 1;
    if (length + appends > words[at + Field.tokenLimit]!) return false;
    for (let sample = i; sample < appends * stride; sample += stride, length++) {
      // Undefined beyond the vocabulary.
      const isEos = this.#isEos[tokenIds[sample]!];
      if ((flags[sample]! & USABLE) !== USABLE || isEos === undefined) return false;
      if (isEos === 1 && length >= words[at + Field.stopsFrom]!) return false;
    }
    return true;
  }
}
