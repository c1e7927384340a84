import { NONE, ROW_WORDS, type Row, SAMPLE_WORDS, Sample } from '../../../contract/contract.ts';
import { wordToFloat } from './row-words.ts';
import type { Words } from './views.ts';

/** Reads the record of one sample and the sampler state of its row. */
export class SampleReader {
  readonly #samples: Uint32Array;
  readonly #rows: Uint32Array | undefined;
  #record = 0;
  #state = 0;

  constructor(samples: Words, rows?: Words) {
    this.#samples = samples.data;
    this.#rows = rows?.data;
  }

  /** The next reads are of sample `index`. */
  select(index: number): void {
    this.#record = index * SAMPLE_WORDS;
    this.#state = this.row * ROW_WORDS;
  }

  get row(): number {
    return this.#samples[this.#record + Sample.row]!;
  }
  get position(): number {
    return this.#samples[this.#record + Sample.position]!;
  }
  get target(): number {
    return this.#samples[this.#record + Sample.target]!;
  }
  get token(): number {
    return this.#samples[this.#record + Sample.token]!;
  }
  /** A token is to be sampled: there is a row, and its next token is not known. */
  get open(): boolean {
    return this.row !== NONE && this.target === NONE;
  }

  state(word: (typeof Row)[keyof typeof Row]): number {
    return this.#rows![this.#state + word]!;
  }
  floatState(word: (typeof Row)[keyof typeof Row]): number {
    return wordToFloat(this.state(word));
  }
}
