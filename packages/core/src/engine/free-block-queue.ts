/** Marks a block that is not in the queue. */
const OUT = -1;

/**
 * Free KV blocks in the order in which they are handed out: a doubly linked list over typed arrays, so that a block leaves
 * from anywhere in O(1). Block 0, the null block, is never handed out and serves as the head of the ring.
 */
export class FreeBlockQueue {
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  #length = 0;

  /** Holds blocks 1 .. numBlocks - 1, in order. */
  constructor(numBlocks: number) {
    this.#next = new Int32Array(numBlocks).fill(OUT);
    this.#previous = new Int32Array(numBlocks).fill(OUT);
    this.#next[0] = 0;
    this.#previous[0] = 0;
    for (let block = 1; block < numBlocks; block++) this.append(block);
  }

  get length(): number {
    return this.#length;
  }

  has(block: number): boolean {
    return block !== 0 && this.#next[block] !== OUT;
  }

  /** Last to be handed out. */
  append(block: number): void {
    this.#insert(block, this.#previous[0]!, 0);
  }

  /** Next to be handed out. */
  prepend(block: number): void {
    this.#insert(block, 0, this.#next[0]!);
  }

  /** The block at the front. Throws when the queue is empty. */
  take(): number {
    const block = this.#next[0]!;
    if (block === 0) throw new Error('FreeBlockQueue: taken from while empty.');
    this.remove(block);
    return block;
  }

  remove(block: number): void {
    if (!this.has(block)) throw new Error(`FreeBlockQueue: block ${block} is not free.`);
    const previous = this.#previous[block]!;
    const next = this.#next[block]!;
    this.#next[previous] = next;
    this.#previous[next] = previous;
    this.#next[block] = OUT;
    this.#previous[block] = OUT;
    this.#length--;
  }

  /** Front to back, for tests and dumps. */
  *[Symbol.iterator](): Generator<number> {
    for (let block = this.#next[0]!; block !== 0; block = this.#next[block]!) yield block;
  }

  #insert(block: number, previous: number, next: number): void {
    if (block === 0 || this.#next[block] !== OUT) throw new Error(`FreeBlockQueue: block ${block} is free already.`);
    this.#next[block] = next;
    this.#previous[block] = previous;
    this.#next[previous] = block;
    this.#previous[next] = block;
    this.#length++;
  }
}
