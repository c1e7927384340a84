import type { BlockObserver } from './block-observer.ts';

/** Hash of one block's tokens and of the prefix before it, as u32. */
export type BlockHash = (prefix: number, tokens: Uint32Array, start: number, length: number) => number;

/** The empty prefix without a salt. */
export const ROOT_PREFIX = 0;

const NO_BLOCK = 0;

/**
 * Full KV blocks by their content: which block holds the keys and values of these tokens after that prefix. Entries from
 * numBlocks on are blocks in host memory.
 *
 * A prefix is a number that stands for one sequence of full blocks under one salt: equal numbers mean equal tokens from the
 * first on. It is given when a block is added and never given again. A lookup finds candidates by hash, then compares prefix
 * and tokens, so that a hit is exact whatever the hash does. Several blocks may hold the same content; they share a prefix.
 */
export class PrefixCache {
  readonly #numBlocks: number;
  readonly #blockSize: number;
  readonly #hash: BlockHash;
  readonly #mask: number;
  /** Chains of blocks of equal masked hash, ended by the null block. */
  readonly #heads: Int32Array;
  readonly #next: Int32Array;
  readonly #bucket: Int32Array;
  readonly #tokens: Uint32Array;
  readonly #parent: Float64Array;
  /** The prefix that ends with this block; 0 for blocks that are not cached. */
  readonly #prefix: Float64Array;
  readonly #saltPrefixes = new Map<string, number>();
  /** By root prefix of a salt: its name, and how many cached blocks follow it directly. */
  readonly #saltUses = new Map<number, { salt: string; blocks: number }>();
  readonly #observer: BlockObserver | null;
  /** Prefixes under a salt, which are told to nobody; kept only for an observer. */
  readonly #salted = new Set<number>();
  #lastPrefix = ROOT_PREFIX;
  #size = 0;

  constructor(
    numBlocks: number,
    numHostBlocks: number,
    blockSize: number,
    hash: BlockHash = seededHash(Math.floor(Math.random() * 2 ** 32)),
    observer: BlockObserver | null = null,
  ) {
    this.#observer = observer;
    observer?.onBlocksCleared();
    const numEntries = numBlocks + numHostBlocks;
    this.#numBlocks = numBlocks;
    this.#blockSize = blockSize;
    this.#hash = hash;
    const buckets = 2 ** Math.ceil(Math.log2(Math.max(2, numEntries)));
    this.#mask = buckets - 1;
    this.#heads = new Int32Array(buckets);
    this.#next = new Int32Array(numEntries);
    this.#bucket = new Int32Array(numEntries);
    this.#tokens = new Uint32Array(numEntries * blockSize);
    this.#parent = new Float64Array(numEntries);
    this.#prefix = new Float64Array(numEntries);
  }

  /** Cached blocks. */
  get size(): number {
    return this.#size;
  }

  has(block: number): boolean {
    return this.#prefix[block] !== 0;
  }

  /** The prefix that ends with a cached block. */
  prefixOf(block: number): number {
    return this.#prefix[block]!;
  }

  /** The empty prefix under a salt. Prompts under different salts never share blocks. */
  rootOf(salt: string): number {
    if (salt === '') return ROOT_PREFIX;
    let root = this.#saltPrefixes.get(salt);
    if (root === undefined) {
      root = ++this.#lastPrefix;
      this.#saltPrefixes.set(salt, root);
      this.#saltUses.set(root, { salt, blocks: 0 });
    }
    return root;
  }

  /** The same without making it known: null when no block follows the salt. */
  knownRootOf(salt: string): number | null {
    return salt === '' ? ROOT_PREFIX : (this.#saltPrefixes.get(salt) ?? null);
  }

  /** Forgets a salt that no cached block follows, so that salts do not pile up. */
  releaseRoot(root: number): void {
    const use = this.#saltUses.get(root);
    if (use === undefined || use.blocks > 0) return;
    this.#saltUses.delete(root);
    this.#saltPrefixes.delete(use.salt);
  }

  /** A block that holds tokens[start, start + blockSize) after `prefix`, or 0. */
  find(prefix: number, tokens: Uint32Array, start: number): number {
    const bucket = this.#hash(prefix, tokens, start, this.#blockSize) & this.#mask;
    return this.#findIn(bucket, prefix, tokens, start, 0, this.#numBlocks);
  }

  /** The same in host memory. */
  findHost(prefix: number, tokens: Uint32Array, start: number): number {
    const bucket = this.#hash(prefix, tokens, start, this.#blockSize) & this.#mask;
    return this.#findIn(bucket, prefix, tokens, start, this.#numBlocks);
  }

  /** The host entry of equal content, or 0. */
  hostTwin(block: number): number {
    const prefix = this.#prefix[block];
    let entry = this.#heads[this.#bucket[block]!]!;
    while (entry !== NO_BLOCK && (entry < this.#numBlocks || this.#prefix[entry] !== prefix))
      entry = this.#next[entry]!;
    return entry;
  }

  /** Makes an entry findable that holds a copy of a cached block. */
  addTwin(entry: number, block: number): void {
    this.add(entry, this.#parent[block]!, this.tokensOf(block), 0);
  }

  /** Makes a full block findable. Returns the prefix that ends with it. */
  add(block: number, prefix: number, tokens: Uint32Array, start: number): number {
    if (this.has(block)) throw new Error(`PrefixCache: block ${block} is cached already.`);
    const bucket = this.#hash(prefix, tokens, start, this.#blockSize) & this.#mask;
    const twin = this.#findIn(bucket, prefix, tokens, start);
    const base = block * this.#blockSize;
    for (let i = 0; i < this.#blockSize; i++) this.#tokens[base + i] = tokens[start + i]!;
    this.#parent[block] = prefix;
    this.#prefix[block] = twin === NO_BLOCK ? ++this.#lastPrefix : this.#prefix[twin]!;
    this.#bucket[block] = bucket;
    this.#next[block] = this.#heads[bucket]!;
    this.#heads[bucket] = block;
    this.#size++;
    this.#countUse(prefix, 1);
    if (twin === NO_BLOCK) this.#tellStored(block, prefix);
    return this.#prefix[block]!;
  }

  remove(block: number): void {
    if (!this.has(block)) throw new Error(`PrefixCache: block ${block} is not cached.`);
    const bucket = this.#bucket[block]!;
    if (this.#heads[bucket] === block) this.#heads[bucket] = this.#next[block]!;
    else this.#next[this.#before(bucket, block)] = this.#next[block]!;
    this.#next[block] = NO_BLOCK;
    const prefix = this.#prefix[block]!;
    this.#prefix[block] = 0;
    this.#size--;
    this.#tellRemoved(prefix, bucket);
    this.#countUse(this.#parent[block]!, -1);
  }

  /** Forgets every block. Prefixes given before stay unique. */
  clear(): void {
    this.#heads.fill(NO_BLOCK);
    this.#next.fill(NO_BLOCK);
    this.#prefix.fill(0);
    this.#saltPrefixes.clear();
    this.#saltUses.clear();
    this.#salted.clear();
    this.#size = 0;
    this.#observer?.onBlocksCleared();
  }

  /** The tokens that a cached block was added with. */
  tokensOf(block: number): Uint32Array {
    return this.#tokens.subarray(block * this.#blockSize, (block + 1) * this.#blockSize);
  }

  #tellStored(block: number, parent: number): void {
    if (this.#observer === null) return;
    const prefix = this.#prefix[block]!;
    if (this.#saltUses.has(parent) || this.#salted.has(parent)) this.#salted.add(prefix);
    else this.#observer.onBlockStored(prefix, parent === ROOT_PREFIX ? null : parent, this.tokensOf(block));
  }

  /** A block that held this content is not of its bucket any more. */
  #tellRemoved(prefix: number, bucket: number): void {
    if (this.#observer === null) return;
    for (let block = this.#heads[bucket]!; block !== NO_BLOCK; block = this.#next[block]!) {
      if (this.#prefix[block] === prefix) return;
    }
    if (!this.#salted.delete(prefix)) this.#observer.onBlockRemoved(prefix);
  }

  #before(bucket: number, block: number): number {
    let before = this.#heads[bucket]!;
    while (this.#next[before] !== block) before = this.#next[before]!;
    return before;
  }

  /** Among entries from, .. to - 1. */
  #findIn(
    bucket: number,
    prefix: number,
    tokens: Uint32Array,
    start: number,
    from = 0,
    to = this.#next.length,
  ): number {
    for (let block = this.#heads[bucket]!; block !== NO_BLOCK; block = this.#next[block]!) {
      if (block < from || block >= to) continue;
      if (this.#parent[block] === prefix && this.#holds(block, tokens, start)) return block;
    }
    return NO_BLOCK;
  }

  #holds(block: number, tokens: Uint32Array, start: number): boolean {
    const base = block * this.#blockSize;
    for (let i = 0; i < this.#blockSize; i++) {
      if (this.#tokens[base + i] !== tokens[start + i]) return false;
    }
    return true;
  }

  #countUse(prefix: number, change: number): void {
    const use = this.#saltUses.get(prefix);
    if (use === undefined) return;
    use.blocks += change;
    this.releaseRoot(prefix);
  }
}

/**
 * Multiply-xorshift over the prefix and the tokens, under a seed that callers cannot know, so that nobody can fill one bucket
 * on purpose. It only spreads blocks over buckets: equality is checked on tokens.
 */
export function seededHash(seed: number): BlockHash {
  return (prefix, tokens, start, length) => {
    let h = mix(seed, prefix >>> 0);
    h = mix(h, (prefix / 0x1_0000_0000) >>> 0);
    for (let i = 0; i < length; i++) h = mix(h, tokens[start + i]!);
    return (h ^ (h >>> 16)) >>> 0;
  };
}

function mix(h: number, word: number): number {
  const product = Math.imul(h ^ word, 0x85ebca6b);
  return Math.imul(product ^ (product >>> 13), 0xc2b2ae35) + word;
}
