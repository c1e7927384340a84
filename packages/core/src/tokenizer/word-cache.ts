/** Words longer than this are not kept: they hardly ever come back. In UTF-16 code units. */
const MAX_WORD_LENGTH = 128;

/** The ids of words seen of late; bounded, the least recently used goes first. */
export class WordCache {
  readonly #capacity: number;
  readonly #entries = new Map<string, readonly number[]>();

  constructor(capacity = 16_384) {
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(word: string): readonly number[] | undefined {
    const ids = this.#entries.get(word);
    if (ids === undefined) return undefined;
    this.#entries.delete(word);
    this.#entries.set(word, ids);
    return ids;
  }

  set(word: string, ids: readonly number[]): void {
    if (word.length > MAX_WORD_LENGTH) return;
    this.#entries.set(detached(word), ids);
    if (this.#entries.size > this.#capacity) this.#entries.delete(this.#entries.keys().next().value!);
  }
}

/** A copy that does not keep the text alive of which the word is a slice. JavaScript engines share slices of strings. */
function detached(word: string): string {
  return ` ${word}`.slice(1);
}
