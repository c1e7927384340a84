import type { BlockObserver } from './block-observer.ts';
import type { BlockTable } from './block-table.ts';
import { FreeBlockQueue } from './free-block-queue.ts';
import { type BlockHash, PrefixCache, ROOT_PREFIX } from './prefix-cache.ts';

export interface BlockManagerOptions {
  /** The null block (block 0) included. */
  numBlocks: number;
  blockSize: number;
  enablePrefixCaching: boolean;
  /** Blocks in host memory that the prefix cache may name. Default 0. */
  numHostBlocks?: number;
  /** Replaces the hash of the prefix cache. Hits are exact with any hash. */
  hash?: BlockHash;
  /** Told what the prefix cache holds. */
  observer?: BlockObserver | null;
}

/** Blocks that hold the front of a token sequence already: cached, or of a sequence that runs. Overwritten by the next call. */
export interface TableStart {
  readonly blocks: number[];
  /** Tokens that they hold of the sequence; the last block may hold others behind them. */
  numTokens: number;
  /** Blocks from the front that the cache knows, and what stands for their content. */
  numCached: number;
  prefix: number;
}

/** Returned by `grow` when the pool has too few free blocks. */
export const NO_ROOM = -1;

/**
 * The pool of KV blocks: who holds which, what may be reused, and what must be copied or cleared before the next step.
 *
 * A block is free, or held by one or more tables. A free block may still be cached: it is found by its content until it is
 * handed out again, least recently freed first, the tail of a sequence before its head. A table writes only to blocks that it
 * alone holds: one that begins with the blocks of another, and writes on in the middle of a block, begins with a copy of it.
 *
 * Blocks are freed at once, also while submitted steps still write to them: the device has one queue in order, so those
 * writes land before any write of the next owner. They never touch a cached block, because only positions of tokens known to
 * the host are cached.
 */
export class BlockManager {
  readonly numBlocks: number;
  readonly blockSize: number;
  readonly numHostBlocks: number;
  readonly #cache: PrefixCache | null;
  readonly #free: FreeBlockQueue;
  readonly #refCounts: Int32Array;
  /** 1: cleared when the last holder lets go. */
  readonly #tainted: Uint8Array;
  readonly #hit: TableStart = { blocks: [], numTokens: 0, numCached: 0, prefix: ROOT_PREFIX };
  readonly #fork: TableStart = { blocks: [], numTokens: 0, numCached: 0, prefix: ROOT_PREFIX };
  #copies: [number, number][] = [];
  #zeroBlocks: number[] = [];

  constructor(options: BlockManagerOptions) {
    this.numBlocks = options.numBlocks;
    this.blockSize = options.blockSize;
    this.numHostBlocks = options.numHostBlocks ?? 0;
    this.#free = new FreeBlockQueue(options.numBlocks);
    this.#refCounts = new Int32Array(options.numBlocks);
    this.#tainted = new Uint8Array(options.numBlocks);
    this.#cache = options.enablePrefixCaching
      ? new PrefixCache(options.numBlocks, this.numHostBlocks, options.blockSize, options.hash, options.observer)
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
  lookup(tokens: Uint32Array, maxTokens: number, salt: string): TableStart {
    const hit = this.#hit;
    hit.blocks.length = 0;
    hit.prefix = ROOT_PREFIX;
    const root = this.#cache?.knownRootOf(salt) ?? null;
    if (this.#cache !== null && root !== null) {
      hit.prefix = root;
      for (let start = 0; start + this.blockSize <= maxTokens; start += this.blockSize) {
        const block = this.#cache.find(hit.prefix, tokens, start);
        if (block === 0) break;
        hit.prefix = this.#cache.prefixOf(block);
        hit.blocks.push(block);
      }
    }
    hit.numCached = hit.blocks.length;
    hit.numTokens = hit.blocks.length * this.blockSize;
    return hit;
  }

  /** The blocks of a running sequence that hold its first numTokens, for another one that begins with the same tokens. */
  fork(source: BlockTable, numTokens: number): TableStart {
    const fork = this.#fork;
    fork.blocks.length = 0;
    for (let i = 0; i < this.blocksFor(numTokens); i++) fork.blocks.push(source.at(i));
    fork.numTokens = numTokens;
    // A prefix stands for all blocks that the source had cached; of fewer, the cache is told again.
    const isPrefix = source.numCached * this.blockSize <= numTokens;
    fork.numCached = isPrefix ? source.numCached : 0;
    fork.prefix = isPrefix ? source.prefix : ROOT_PREFIX;
    return fork;
  }

  /**
   * Begins an empty table with the blocks of `start`, and grows it to hold numTokens, written from start.numTokens on: a block
   * that is shared and only partly the sequence's own is copied. Succeeds only when reserveTokens would fit too, with
   * `watermark` blocks to spare; on failure nothing has changed.
   */
  admit(table: BlockTable, start: TableStart, numTokens: number, reserveTokens: number, watermark = 0): boolean {
    if (table.length !== 0) throw new Error('BlockManager: admitted a table that holds blocks.');
    let free = this.#free.length - watermark;
    for (const block of start.blocks) if (this.#refCounts[block] === 0) free--;
    const copies = start.numTokens % this.blockSize === 0 ? 0 : 1;
    if (this.blocksFor(Math.max(numTokens, reserveTokens)) - start.blocks.length + copies > free) return false;
    for (const block of start.blocks) {
      this.hold(block);
      table.push(block);
    }
    table.numCached = start.numCached;
    table.prefix = start.prefix;
    if (copies > 0) this.#copyLast(table);
    this.#extend(table, numTokens);
    return true;
  }

  /**
   * Appends blocks until a table holds numTokens. Returns its length before, which is where new blocks begin, or NO_ROOM, and
   * then nothing has changed. What lies beyond a table's computed tokens is its own: `admit` copied what was not.
   */
  grow(table: BlockTable, numTokens: number): number {
    const { length } = table;
    if (this.blocksFor(numTokens) - length > this.#free.length) return NO_ROOM;
    this.#extend(table, numTokens);
    return length;
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

  /** Lets go of all blocks of a table. What the cache was told stays findable. */
  free(table: BlockTable): void {
    for (let i = table.length - 1; i >= 0; i--) this.release(table.at(i));
    this.#releaseSalt(table);
    table.clear();
  }

  /** Counts one more holder of a block that is free or held. */
  hold(block: number): void {
    if (this.#refCounts[block]!++ === 0) this.#free.remove(block);
  }

  /** Lets go of a block. One that is cached is handed out last, unless there is a copy of it in host memory: then next. */
  release(block: number, isCopied = false): void {
    const count = this.#refCounts[block]!;
    if (count <= 0) throw new Error(`BlockManager: block ${block} is freed twice.`);
    this.#refCounts[block] = count - 1;
    if (count > 1) return;
    if (this.#tainted[block] === 1) this.#clean(block);
    if (this.#cache?.has(block) && !isCopied) this.#free.append(block);
    else this.#free.prepend(block);
  }

  /** The block is about to be overwritten as a whole: it need not be cleared first. */
  skipZero(block: number): void {
    const at = this.#zeroBlocks.indexOf(block);
    if (at >= 0) this.#zeroBlocks.splice(at, 1);
  }

  /** Lets go of blocks whose content must not be used: they leave the cache now, and are cleared once nobody holds them. */
  discard(table: BlockTable): void {
    for (let i = 0; i < table.length; i++) {
      const block = table.at(i);
      this.#tainted[block] = 1;
      if (this.#cache?.has(block)) this.#disown(block);
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

  /** The last block of a table becomes a copy of its own. */
  #copyLast(table: BlockTable): void {
    const from = table.at(table.length - 1);
    const to = this.#take();
    table.replace(table.length - 1, to);
    this.#copies.push([from, to]);
    this.release(from);
  }

  #take(): number {
    const block = this.#free.take();
    if (this.#cache?.has(block)) this.#cache.remove(block);
    this.#refCounts[block] = 1;
    return block;
  }

  #clean(block: number): void {
    this.#tainted[block] = 0;
    if (this.#cache?.has(block)) this.#disown(block);
    this.#zeroBlocks.push(block);
  }

  /** Removes a block from the cache, and its copy in host memory. */
  #disown(block: number): void {
    const twin = this.#cache!.hostTwin(block);
    if (twin !== 0) this.#cache!.remove(twin);
    this.#cache!.remove(block);
  }

  #releaseSalt(table: BlockTable): void {
    const root = this.#cache?.knownRootOf(table.salt) ?? null;
    if (root !== null) this.#cache?.releaseRoot(root);
  }
}
