import { hash } from 'node:crypto';

/** 128 bits of a digest and a line number. */
const WORDS = 5;

/**
 * The custom_ids of a batch with the line of each, in 20 bytes an entry: a million fit in 40 MB whatever their length. An id is
 * known by the first 128 bits of its SHA-256.
 */
export class IdTable {
  #entries = new Uint32Array(1024 * WORDS);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The line that an id was added with, or null. */
  lineOf(id: string): number | null {
    const line = this.#entries[this.#find(this.#entries, digest(id)) + 4]!;
    return line === 0 ? null : line;
  }

  /** line: 1-based. Returns the line that has the id already, or null when it is new. */
  add(id: string, line: number): number | null {
    const key = digest(id);
    const at = this.#find(this.#entries, key);
    const before = this.#entries[at + 4]!;
    if (before !== 0) return before;
    this.#put(this.#entries, at, key, line);
    this.#size++;
    if (this.#size * WORDS * 2 > this.#entries.length) this.#grow();
    return null;
  }

  /** Where the key lies or would lie: linear probing from the place that its first word names. */
  #find(entries: Uint32Array, key: Uint32Array): number {
    const slots = entries.length / WORDS;
    for (let slot = key[0]! & (slots - 1); ; slot = (slot + 1) & (slots - 1)) {
      const at = slot * WORDS;
      if (entries[at + 4] === 0 || key.every((word, i) => entries[at + i] === word)) return at;
    }
  }

  #put(entries: Uint32Array, at: number, key: Uint32Array, line: number): void {
    entries.set(key, at);
    entries[at + 4] = line;
  }

  #grow(): void {
    const bigger = new Uint32Array(this.#entries.length * 2);
    for (let at = 0; at < this.#entries.length; at += WORDS) {
      const line = this.#entries[at + 4]!;
      const key = this.#entries.subarray(at, at + 4);
      if (line !== 0) this.#put(bigger, this.#find(bigger, key), key, line);
    }
    this.#entries = bigger;
  }
}

function digest(id: string): Uint32Array {
  const bytes = hash('sha256', id, 'buffer');
  return new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + 16));
}
