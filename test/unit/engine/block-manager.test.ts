import { describe, expect, test } from 'vitest';
import { BlockManager, NO_ROOM } from '../../../packages/core/src/engine/block-manager.ts';
import { BlockTable } from '../../../packages/core/src/engine/block-table.ts';
import { FreeBlockQueue } from '../../../packages/core/src/engine/free-block-queue.ts';

const BLOCK = 4;

function manager(numBlocks = 9, options: { caching?: boolean; hash?: () => number } = {}) {
  return new BlockManager({
    numBlocks,
    blockSize: BLOCK,
    enablePrefixCaching: options.caching ?? true,
    ...(options.hash ? { hash: options.hash } : {}),
  });
}

function ids(...tokens: number[]): Uint32Array {
  return Uint32Array.from(tokens);
}

/** Tokens 0, 1, 2 ... from `first` on. */
function range(length: number, first = 0): Uint32Array {
  return Uint32Array.from({ length }, (_, i) => first + i);
}

/** A table that computed all its tokens. */
function admit(blocks: BlockManager, tokens: Uint32Array, salt = ''): { table: BlockTable; cached: number } {
  const table = new BlockTable(salt);
  const hit = blocks.lookup(tokens, tokens.length - 1, salt);
  const cached = hit.blocks.length * BLOCK;
  expect(blocks.admit(table, hit, tokens.length, tokens.length)).toBe(true);
  blocks.register(table, tokens, tokens.length);
  return { table, cached };
}

describe('FreeBlockQueue', () => {
  test('hands out in order, takes from the middle, and never the null block', () => {
    const queue = new FreeBlockQueue(5);
    expect([...queue]).toEqual([1, 2, 3, 4]);
    queue.remove(3);
    queue.prepend(3);
    expect([...queue]).toEqual([3, 1, 2, 4]);
    expect([queue.take(), queue.take(), queue.take(), queue.take()]).toEqual([3, 1, 2, 4]);
    expect(queue.length).toBe(0);
    expect(() => queue.take()).toThrow(/empty/);
    queue.append(2);
    expect(() => queue.append(2)).toThrow(/free already/);
    expect(() => queue.append(0)).toThrow();
    expect(() => queue.remove(1)).toThrow(/not free/);
  });
});

describe('prefix cache', () => {
  test('full blocks of a common prefix are shared; the last token is always computed', () => {
    const blocks = manager();
    const first = admit(blocks, range(10));
    const second = admit(blocks, range(10));
    expect([first.cached, second.cached]).toEqual([0, 8]);
    expect(second.table.from(0).slice(0, 2)).toEqual(first.table.from(0).slice(0, 2));
    expect(second.table.at(2)).not.toBe(first.table.at(2));
    expect(blocks.refCount(first.table.at(0))).toBe(2);
    expect(admit(blocks, range(8)).cached).toBe(4);
  });

  test('equal blocks after different prefixes are different', () => {
    const blocks = manager(20);
    admit(blocks, ids(1, 1, 1, 1, 5, 5, 5, 5, 9));
    expect(admit(blocks, ids(2, 2, 2, 2, 5, 5, 5, 5, 9)).cached).toBe(0);
    expect(admit(blocks, ids(1, 1, 1, 1, 5, 5, 5, 6, 9)).cached).toBe(4);
  });

  test('with a hash that always collides, hits are still exact', () => {
    const blocks = manager(40, { hash: () => 0 });
    admit(blocks, ids(1, 1, 1, 1, 5, 5, 5, 5, 9));
    admit(blocks, ids(2, 2, 2, 2, 5, 5, 5, 5, 9));
    expect(admit(blocks, ids(3, 3, 3, 3, 5, 5, 5, 5, 9)).cached).toBe(0);
    expect(admit(blocks, ids(2, 2, 2, 2, 5, 5, 5, 5, 7)).cached).toBe(8);
  });

  test('salts separate, and are forgotten with their blocks', () => {
    const blocks = manager(4);
    const a = admit(blocks, range(5), 'a');
    blocks.free(a.table);
    const b = admit(blocks, range(5), 'b');
    expect(b.cached).toBe(0);
    blocks.free(b.table);
    const again = admit(blocks, range(5), 'b');
    expect(again.cached).toBe(4);
    blocks.free(again.table);
    expect(admit(blocks, range(5)).cached).toBe(0);
  });

  test('freed blocks stay findable until they are handed out, the tail of a sequence first', () => {
    const blocks = manager(6);
    const { table } = admit(blocks, range(17));
    const [a, b, c, d] = table.from(0);
    blocks.free(table);
    expect(blocks.numFreeBlocks).toBe(5);
    // The last block was partial: it is reused first. Then d, c, b, a.
    expect([...blocks.freeBlocks()].slice(-4)).toEqual([d, c, b, a]);
    const other = admit(blocks, range(8, 100));
    expect(other.table.from(0)).toContain(d);
    blocks.free(other.table);
    expect(blocks.lookup(range(17), 16, '').blocks).toEqual([a, b, c]);
  });

  test('a hit among the free blocks counts against the room that is left', () => {
    const blocks = manager(4);
    const { table } = admit(blocks, range(8));
    blocks.free(table);
    const tokens = ids(...range(8), 50, 51, 52, 53, 54);
    const hit = blocks.lookup(tokens, tokens.length - 1, '');
    expect(hit.blocks.length).toBe(2);
    const before = [...blocks.freeBlocks()];
    expect(blocks.admit(new BlockTable(), hit, tokens.length, tokens.length)).toBe(false);
    expect([...blocks.freeBlocks()]).toEqual(before);
  });

  test('two blocks of equal content: the second takes over when the first is evicted', () => {
    const blocks = manager(8);
    const tokens = range(9);
    const tables = [new BlockTable(), new BlockTable()];
    for (const table of tables) blocks.admit(table, { blocks: [], numTokens: 0, numCached: 0, prefix: 0 }, 9, 9);
    for (const table of tables) blocks.register(table, tokens, 9);
    blocks.free(tables[0]!);
    const filler = admit(blocks, range(16, 100));
    expect(filler.cached).toBe(0);
    expect(blocks.lookup(tokens, 8, '').blocks).toEqual(tables[1]!.from(0).slice(0, 2));
  });

  test('reset forgets content and keeps running tables', () => {
    const blocks = manager();
    const { table } = admit(blocks, range(9));
    blocks.resetPrefixCache();
    expect(blocks.lookup(range(9), 8, '').blocks).toEqual([]);
    blocks.register(table, range(13), 9);
    blocks.free(table);
    expect(blocks.numFreeBlocks).toBe(8);
  });

  test('off: nothing is found', () => {
    const blocks = manager(9, { caching: false });
    admit(blocks, range(9));
    expect(admit(blocks, range(9)).cached).toBe(0);
  });
});

describe('growing and failing', () => {
  test('grow says from where the table changed, and changes nothing without room', () => {
    const blocks = manager(4);
    const { table } = admit(blocks, range(4));
    expect(blocks.grow(table, 4)).toBe(1);
    expect(blocks.grow(table, 9)).toBe(1);
    expect(table.length).toBe(3);
    expect(blocks.grow(table, 13)).toBe(NO_ROOM);
    expect(table.length).toBe(3);
    blocks.free(table);
    expect(blocks.numFreeBlocks).toBe(3);
  });

  test('freeing twice is an error', () => {
    const blocks = manager();
    const { table } = admit(blocks, range(4));
    const copy = new BlockTable();
    copy.push(table.at(0));
    blocks.free(table);
    expect(() => blocks.free(copy)).toThrow(/freed twice/);
  });

  test('discarded blocks leave the cache at once and are cleared when the last holder lets go', () => {
    const blocks = manager(12);
    const bad = admit(blocks, range(9));
    const neighbour = admit(blocks, range(9));
    expect(neighbour.cached).toBe(8);
    const shared = bad.table.from(0).slice(0, 2);
    const own = bad.table.at(2);
    blocks.discard(bad.table);
    expect(blocks.lookup(range(9), 8, '').blocks).toEqual([]);
    expect(blocks.takeZeroBlocks()).toEqual([own]);
    blocks.free(neighbour.table);
    expect([...blocks.takeZeroBlocks()].sort()).toEqual([...shared].sort());
    expect(blocks.takeZeroBlocks()).toEqual([]);
    expect(blocks.numFreeBlocks).toBe(11);
  });
});

describe('fork', () => {
  function forked(blocks: BlockManager, parent: BlockTable, numShared: number, numTokens: number) {
    const child = new BlockTable();
    return { child, admitted: blocks.admit(child, blocks.fork(parent, numShared), numTokens, numTokens) };
  }

  test('shares full blocks and copies the one that both write to, once', () => {
    const blocks = manager();
    const parent = admit(blocks, range(6)).table;
    const [head, tail] = [parent.at(0), parent.at(1)];
    const { child } = forked(blocks, parent, 6, 7);
    const copy = child.at(1);
    expect(child.from(0)).toEqual([head, copy]);
    expect(copy).not.toBe(tail);
    expect(blocks.takeCopies()).toEqual([[tail, copy]]);
    expect([head, tail, copy].map(block => blocks.refCount(block))).toEqual([2, 1, 1]);
    expect(blocks.grow(parent, 7)).toBe(2);
    expect(blocks.grow(child, 9)).toBe(2);
    expect(blocks.takeCopies()).toEqual([]);

    blocks.register(child, ids(0, 1, 2, 3, 4, 5, 60, 61), 8);
    blocks.free(parent);
    blocks.free(child);
    expect(blocks.numFreeBlocks).toBe(8);
    expect(blocks.lookup(ids(0, 1, 2, 3, 4, 5, 60, 61, 9), 8, '').blocks).toEqual([head, copy]);
  });

  test('a write that starts a new block copies nothing', () => {
    const blocks = manager();
    const parent = admit(blocks, range(8)).table;
    expect(forked(blocks, parent, 8, 9).child.length).toBe(3);
    expect(blocks.takeCopies()).toEqual([]);
  });

  test('a shorter front of a cached sequence is told to the cache again, and only as far as it is full', () => {
    const blocks = manager();
    const tokens = range(12);
    const parent = admit(blocks, tokens).table;
    blocks.register(parent, tokens, 12);
    const { child } = forked(blocks, parent, 7, 8);
    expect(child.numCached).toBe(0);
    blocks.register(child, tokens, 8);
    expect([child.numCached, child.prefix]).toEqual([2, blocks.cache!.prefixOf(parent.at(1))]);
  });

  test('without a free block for the copy nothing changes', () => {
    const blocks = manager(3);
    const parent = admit(blocks, range(6)).table;
    const { child, admitted } = forked(blocks, parent, 6, 7);
    expect([admitted, child.length, blocks.refCount(parent.at(0))]).toEqual([false, 0, 1]);
    expect(blocks.takeCopies()).toEqual([]);
  });
});
