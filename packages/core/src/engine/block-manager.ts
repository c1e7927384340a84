import type { BlockTable } from './block-table.ts';
import { FreeBlockQueue } from './free-block-queue.ts';
import { type BlockHash, PrefixCache, ROOT_PREFIX } from './prefix-cache.ts';

export interface BlockManagerOptions {
  /** The null block (block 0) included. */
  numBlocks: number;
  blockSize: number;
  enablePrefixCaching: boolean;
  /** Replaces the hash of the prefix cache. Hits are exact with any hash. */
  hash?: BlockHash;
}

/** Cached blocks at the front of a token sequence. Overwritten by the next lookup. */
export interface CacheHit {
  readonly blocks: number[];
  /** Stands for the content of all of them. */
  prefix: number;
}

/** Returned by `grow` when the pool has too few free blocks. */
export const NO_ROOM = -1;

/**
 * The pool of KV blocks: who holds which, what may be reused, and what must be copied or cleared before the next step.
 *
 * A block is free, or held by one or more tables. A free block may still be cached: it is found by its content until it is
 * handed out again, least recently freed first, the tail of a sequence before its head. A table writes only to blocks that it
 * alone holds: the first write into a shared block replaces it by a copy.
 *
 * Blocks are freed at once, also while submitted steps still write to them: the device has one queue in order, so those
 * writes land before any write of the next owner. They never touch a cached block, because only positions of tokens known to
 * the host are cached.
 */
export class BlockManager {
  readonly numBlocks: number;
  readonly blockSize: number;
  readonly #cache: PrefixCache | null;
  readonly #free: FreeBlockQueue;
  readonly #refCounts: Int32Array;
  /** 1: cleared when the last holder lets go. */
  readonly #tainted: Uint8Array;
  readonly #hit: CacheHit = { blocks: [], prefix: ROOT_PREFIX };
  #copies: [number, number][] = [];
  #zeroBlocks: number[] = [];

  constructor(options: BlockManagerOptions) {
    this.numBlocks = options.numBlocks;
    this.blockSize = options.blockSize;
    this.#free = new FreeBlockQueue(options.numBlocks);
    this.#refCounts = new Int32Array(options.numBlocks);
    this.#tainted = new Uint8Array(options.numBlocks);
    this.#cache = options.enablePrefixCaching
      ? new PrefixCache(options.numBlocks, options.blockSize, options.hash)
      : null;
  }

  get numFreeBlocks(): number {
    return this.#free.length;
  }

  /** Share of the pool that is held, 0 to 1. */
  get usage(): number {
    return 1 - this.#free.length / Math.max(1, this.numBlocks - 1);
  }

  get cache(): PrefixCache | null {
    return this.#cache;
  }

  refCount(block: number): number {
    return this.#refCounts[block]!;
  }

  /** Free blocks in the order in which they will be handed out. */
  freeBlocks(): Iterable<number> {
    return this.#free;
  }

  blocksFor(numTokens: number): number {
    return Math.ceil(numTokens / this.blockSize);
  }

  /** The longest run of cached full blocks of tokens[0, maxTokens). Changes nothing. */
  lookup(tokens: Uint32Array, maxTokens: number, salt: string): CacheHit {
    const hit = this.#hit;
    hit.blocks.length = 0;
    hit.prefix = ROOT_PREFIX;
    const root = this.#cache?.knownRootOf(salt) ?? null;
    if (this.#cache === null || root === null) return hit;
    hit.prefix = root;
    for (let start = 0; start + this.blockSize <= maxTokens; start += this.blockSize) {
      const block = this.#cache.find(hit.prefix, tokens, start);
      if (block === 0) break;
      hit.prefix = this.#cache.prefixOf(block);
      hit.blocks.push(block);
    }
    return hit;
  }

  /**
   * Starts an empty table with the blocks of a hit, and grows it to hold numTokens. Succeeds only when reserveTokens would
   * fit too; on failure nothing has changed.
   */
  admit(table: BlockTable, hit: CacheHit, numTokens: number, reserveTokens: number): boolean {
    if (table.length !== 0) throw new Error('BlockManager: admitted a table that holds blocks.');
    let hitFree = 0;
    for (const block of hit.blocks) if (this.#refCounts[block] === 0) hitFree++;
    const needed = this.blocksFor(Math.max(numTokens, reserveTokens)) - hit.blocks.length;
    if (needed > this.#free.length - hitFree) return false;
    for (const block of hit.blocks) {
      if (this.#refCounts[block]!++ === 0) this.#free.remove(block);
      table.push(block);
    }
    table.numCached = hit.blocks.length;
    table.prefix = hit.prefix;
    this.#extend(table, numTokens);
    return true;
  }

  /**
   * Makes positions [firstWrite, numTokens) of a table writable: appends blocks, and replaces a shared block that would be
   * written by a copy. Returns the first index of the table that changed (its length when none did), or NO_ROOM, and then
   * nothing has changed.
   */
  grow(table: BlockTable, firstWrite: number, numTokens: number): number {
    const { length } = table;
    const first = Math.floor(firstWrite / this.blockSize);
    const mustCopy = first < length && this.#refCounts[table.at(first)]! > 1;
    const missing = this.blocksFor(numTokens) - length;
    if (missing <= 0 && !mustCopy) return length;
    if (Math.max(0, missing) + (mustCopy ? 1 : 0) > this.#free.length) return NO_ROOM;
    if (mustCopy) this.#copyOnWrite(table, first);
    this.#extend(table, numTokens);
    return mustCopy ? first : length;
  }

  /**
   * Tells the cache the full blocks of tokens[0, numTokens). All of them must be computed by steps already submitted or by the
   * one being scheduled: within a step every layer writes keys and values before attention reads them.
   */
  register(table: BlockTable, tokens: Uint32Array, numTokens: number): void {
    const cache = this.#cache;
    if (cache === null) return;
    if (table.numCached === 0) table.prefix = cache.rootOf(table.salt);
    for (let end = (table.numCached + 1) * this.blockSize; end <= numTokens; end += this.blockSize) {
      const block = table.at(table.numCached);
      table.prefix = cache.has(block)
        ? cache.prefixOf(block)
        : cache.add(block, table.prefix, tokens, end - this.blockSize);
      table.numCached++;
    }
  }

  /** Gives `child` the blocks of the first numTokens of `parent`. The first write of either into a shared block copies it. */
  fork(parent: BlockTable, child: BlockTable, numTokens: number): void {
    if (child.length !== 0) throw new Error('BlockManager: forked into a table that holds blocks.');
    const shared = this.blocksFor(numTokens);
    for (let i = 0; i < shared; i++) {
      const block = parent.at(i);
      this.#refCounts[block]!++;
      child.push(block);
    }
    if (parent.numCached > shared) return;
    child.numCached = parent.numCached;
    child.prefix = parent.prefix;
  }

  /** Lets go of all blocks of a table. What the cache was told stays findable. */
  free(table: BlockTable): void {
    for (let i = table.length - 1; i >= 0; i--) this.#release(table.at(i));
    this.#releaseSalt(table);
    table.clear();
  }

  /** Lets go of blocks whose content must not be used: they leave the cache now, and are cleared once nobody holds them. */
  discard(table: BlockTable): void {
    for (let i = 0; i < table.length; i++) {
      const block = table.at(i);
      this.#tainted[block] = 1;
      if (this.#cache?.has(block)) this.#cache.remove(block);
    }
    this.free(table);
  }

  /** Forgets all cached content. Running tables keep their blocks. */
  resetPrefixCache(): void {
    this.#cache?.clear();
  }

  /** (from, to) pairs to copy before the next step, in blocks; to be taken by every step. */
  takeCopies(): readonly (readonly [number, number])[] {
    if (this.#copies.length === 0) return this.#copies;
    const copies = this.#copies;
    this.#copies = [];
    return copies;
  }

  /** Blocks to clear before the next step, ahead of its copies. */
  takeZeroBlocks(): readonly number[] {
    if (this.#zeroBlocks.length === 0) return this.#zeroBlocks;
    const blocks = this.#zeroBlocks;
    this.#zeroBlocks = [];
    return blocks;
  }

  #extend(table: BlockTable, numTokens: number): void {
    const wanted = this.blocksFor(numTokens);
    while (table.length < wanted) table.push(this.#take());
  }

  #copyOnWrite(table: BlockTable, index: number): void {
    const from = table.at(index);
    const to = this.#take();
    this.#refCounts[from]!--;
    table.replace(index, to);
    this.#copies.push([from, to]);
  }

  #take(): number {
    const block = this.#free.take();
    if (this.#cache?.has(block)) this.#cache.remove(block);
    this.#refCounts[block] = 1;
    return block;
  }

  #release(block: number): void {
    const count = this.#refCounts[block]!;
    if (count <= 0) throw new Error(`BlockManager: block ${block} is freed twice.`);
    this.#refCounts[block] = count - 1;
    if (count > 1) return;
    if (this.#tainted[block] === 1) this.#clean(block);
    if (this.#cache?.has(block)) this.#free.append(block);
    else this.#free.prepend(block);
  }

  #clean(block: number): void {
    this.#tainted[block] = 0;
    if (this.#cache?.has(block)) this.#cache.remove(block);
    this.#zeroBlocks.push(block);
  }

  #releaseSalt(table: BlockTable): void {
    const root = this.#cache?.knownRootOf(table.salt) ?? null;
    if (root !== null) this.#cache?.releaseRoot(root);
  }
}
