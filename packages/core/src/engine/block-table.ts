import { ROOT_PREFIX } from './prefix-cache.ts';

/** KV blocks of one sequence, in order of position. Owned and changed by BlockManager. */
export class BlockTable {
  /** Mixed into the identity of the first block: tables under different salts never share blocks through the cache. */
  readonly salt: string;
  #blocks = new Int32Array(8);
  #length = 0;
  /** Blocks from the front whose content the prefix cache was told. */
  numCached = 0;
  /** Stands for the content of those blocks. */
  prefix = ROOT_PREFIX;

  constructor(salt = '') {
    this.salt = salt;
  }

  get length(): number {
    return this.#length;
  }

  at(index: number): number {
    return this.#blocks[index]!;
  }

  push(block: number): void {
    if (this.#length === this.#blocks.length) {
      const grown = new Int32Array(2 * this.#length);
      grown.set(this.#blocks);
      this.#blocks = grown;
    }
    this.#blocks[this.#length++] = block;
  }

  replace(index: number, block: number): void {
    this.#blocks[index] = block;
  }

  clear(): void {
    this.#length = 0;
    this.numCached = 0;
    this.prefix = ROOT_PREFIX;
  }

  /** A copy of the entries from `start` on. */
  from(start: number): number[] {
    const blocks: number[] = [];
    for (let i = start; i < this.#length; i++) blocks.push(this.#blocks[i]!);
    return blocks;
  }
}
