import { FrameError } from './frames.ts';

const floats = new Float64Array(1);
const halves = new Uint32Array(floats.buffer);

/** Collects the words of a frame. A float takes two. */
export class WordWriter {
  #words = new Uint32Array(256);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  u32(value: number): this {
    this.#reserve(1);
    this.#words[this.#length++] = value;
    return this;
  }

  f64(value: number): this {
    this.#reserve(2);
    floats[0] = value;
    this.#words[this.#length++] = halves[0]!;
    this.#words[this.#length++] = halves[1]!;
    return this;
  }

  list(values: ArrayLike<number>): this {
    this.#reserve(values.length);
    this.#words.set(values, this.#length);
    this.#length += values.length;
    return this;
  }

  /** What was written, valid until the next write; begins anew. */
  take(): Uint32Array {
    const words = this.#words.subarray(0, this.#length);
    this.#length = 0;
    return words;
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#words.length) return;
    const grown = new Uint32Array(Math.max(this.#length + count, 2 * this.#words.length));
    grown.set(this.#words.subarray(0, this.#length));
    this.#words = grown;
  }
}

/** Reads what a WordWriter wrote. Throws FrameError beyond the end. */
export class WordReader {
  readonly #words: Uint32Array;
  #at = 0;

  constructor(words: Uint32Array) {
    this.#words = words;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#words.length;
  }

  u32(): number {
    return this.#words[this.#skip(1)]!;
  }

  f64(): number {
    const at = this.#skip(2);
    halves[0] = this.#words[at]!;
    halves[1] = this.#words[at + 1]!;
    return floats[0]!;
  }

  /** A view. */
  list(count: number): Uint32Array {
    const at = this.#skip(count);
    return this.#words.subarray(at, at + count);
  }

  #skip(count: number): number {
    const at = this.#at;
    if (at + count > this.#words.length) {
      throw new FrameError(`A frame ends after ${this.#words.length} words, in the middle of what it tells.`);
    }
    this.#at += count;
    return at;
  }
}

/** A list of them. `Array.from` takes ten times as long for those of a long prompt. */
export function toNumbers(words: Uint32Array): number[] {
  const numbers = new Array<number>(words.length);
  for (let i = 0; i < words.length; i++) numbers[i] = words[i]!;
  return numbers;
}
