import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BpeEncoder, type BpeModel } from '../../../packages/core/src/tokenizer/bpe.ts';
import { BpeMerger } from '../../../packages/core/src/tokenizer/bpe-merge.ts';
import { byteToChar, fromByteAlphabet, toByteAlphabet } from '../../../packages/core/src/tokenizer/byte-alphabet.ts';
import { MergeTable } from '../../../packages/core/src/tokenizer/merge-table.ts';
import { MinHeap } from '../../../packages/core/src/tokenizer/min-heap.ts';
import { WordCache } from '../../../packages/core/src/tokenizer/word-cache.ts';
import { byteAlphabet, cpuClock } from './sources.ts';

type Merge = { left: number; right: number; merged: number };

/** The definition of BPE: again and again, merge the leftmost pair of the lowest rank. */
function mergeByDefinition(symbols: readonly number[], merges: readonly Merge[]): number[] {
  const ids = [...symbols];
  for (;;) {
    let best = { rank: Number.POSITIVE_INFINITY, at: -1 };
    for (let at = 0; at + 1 < ids.length; at++) {
      const rank = merges.findLastIndex(merge => merge.left === ids[at] && merge.right === ids[at + 1]);
      if (rank >= 0 && rank < best.rank) best = { rank, at };
    }
    if (best.at < 0) return ids;
    ids.splice(best.at, 2, merges[best.rank]!.merged);
  }
}

function tableOf(merges: readonly Merge[]): MergeTable {
  const table = new MergeTable(merges.length);
  merges.forEach((merge, rank) => {
    table.set(merge.left, merge.right, rank, merge.merged);
  });
  return table;
}

function modelOf(
  tokens: readonly string[],
  merges: readonly (readonly [string, string])[],
  overrides: Partial<BpeModel> = {},
): BpeModel {
  const vocab = new Map(tokens.map((token, id) => [token, id]));
  const prefix = overrides.continuingSubwordPrefix ?? '';
  const ids = merges.flatMap(([left, right]) =>
    [left, right, left + right.slice(prefix.length)].map(piece => vocab.get(piece)!),
  );
  const flags = { unkToken: null, fuseUnk: false, byteFallback: false, ignoreMerges: false };
  return {
    type: 'BPE',
    vocab,
    tokens,
    merges: Int32Array.from(ids),
    ...flags,
    continuingSubwordPrefix: '',
    endOfWordSuffix: '',
    ...overrides,
  };
}

describe('BpeMerger', () => {
  it('merges as the definition says, for any merges and any word', () => {
    const symbol = fc.nat(7);
    const merge = fc.record({ left: symbol, right: symbol, merged: symbol });
    fc.assert(
      fc.property(fc.array(merge, { maxLength: 20 }), fc.array(symbol, { maxLength: 40 }), (merges, word) => {
        const ids = Int32Array.from(word);
        const count = new BpeMerger(tableOf(merges)).merge(ids, ids.length);
        expect([...ids.subarray(0, count)]).toEqual(mergeByDefinition(word, merges));
      }),
      { numRuns: 2000 },
    );
  });

  it('takes n log n time where every pair merges, again and again', () => {
    const merges = Array.from({ length: 18 }, (_, k) => ({ left: k, right: k, merged: k + 1 }));
    const ids = new Int32Array(1 << 20);
    const elapsed = cpuClock();
    const count = new BpeMerger(tableOf(merges)).merge(ids, ids.length);
    expect(elapsed()).toBeLessThan(4000);
    expect([...ids.subarray(0, count)]).toEqual([18, 18, 18, 18]);
  });
});

describe('BpeEncoder', () => {
  it('replaces what the vocabulary lacks by the unknown token, one per character or one per run', () => {
    const tokens = ['?', 'a', 'b', 'ab'];
    const merges = [['a', 'b']] as const;
    const encode = (overrides: Partial<BpeModel>) =>
      new BpeEncoder(modelOf(tokens, merges, overrides), false, new Set()).encode('abxyzaé𝄞b');
    expect(encode({ unkToken: '?' })).toEqual([3, 0, 0, 0, 1, 0, 0, 2]);
    expect(encode({ unkToken: '?', fuseUnk: true })).toEqual([3, 0, 1, 0, 2]);
    expect(encode({})).toEqual([3, 1, 2]);
  });

  it('spells unknown characters in byte tokens where the model says so', () => {
    const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
    const model = modelOf([...bytes, 'a'], [], { byteFallback: true });
    expect(new BpeEncoder(model, false, new Set()).encode('a€𝄞')).toEqual([
      256, 0xe2, 0x82, 0xac, 0xf0, 0x9d, 0x84, 0x9e,
    ]);
  });

  it('takes a whole word that is a token before it merges, with ignore_merges', () => {
    const model = modelOf(['a', 'b', 'c', 'bc', 'abc'], [['b', 'c']]);
    expect(new BpeEncoder(model, false, new Set()).encode('abc')).toEqual([0, 3]);
    expect(new BpeEncoder({ ...model, ignoreMerges: true }, false, new Set()).encode('abc')).toEqual([4]);
  });

  it('never gives a barred id, though merges spell it', () => {
    const model = modelOf(
      ['<', 's', '>', '<s', '<s>'],
      [
        ['<', 's'],
        ['<s', '>'],
      ],
      { ignoreMerges: true },
    );
    expect(new BpeEncoder(model, false, new Set()).encode('<s>')).toEqual([4]);
    expect(new BpeEncoder(model, false, new Set([4])).encode('<s>')).toEqual([3, 2]);
  });

  it('puts prefixes and suffixes on pieces of a word', () => {
    const prefixed = modelOf(['a', '##b', '##c', 'ab', '##bc'], [['a', '##b']], { continuingSubwordPrefix: '##' });
    expect(new BpeEncoder(prefixed, false, new Set()).encode('abc')).toEqual([3, 2]);
    const suffixed = modelOf(['a', 'b</w>', 'ab</w>', 'a</w>'], [['a', 'b</w>']], { endOfWordSuffix: '</w>' });
    const encoder = new BpeEncoder(suffixed, false, new Set());
    expect([encoder.encode('ab'), encoder.encode('a'), encoder.encode('aa')]).toEqual([[2], [3], [0, 3]]);
  });

  it('gives the same ids from the cache', () => {
    const encoder = new BpeEncoder(modelOf(['a', 'b', 'ab'], [['a', 'b']]), false, new Set());
    expect(encoder.encode('abab')).toEqual([2, 2]);
    expect(encoder.encode('abab')).toBe(encoder.encode('abab'));
  });
});

describe('parts', () => {
  it('pops keys in ascending order', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ noNaN: true }), { maxLength: 300 }), keys => {
        const heap = new MinHeap();
        for (const key of keys) heap.push(key);
        const popped = Array.from(keys, () => heap.pop());
        expect(popped).toEqual([...keys].sort((a, b) => a - b).map((key, i) => (popped[i] === key ? popped[i] : key)));
        expect(heap.size).toBe(0);
      }),
    );
  });

  it('keeps a bounded number of words, the latest used', () => {
    const cache = new WordCache(2);
    cache.set('a', [1]);
    cache.set('b', [2]);
    cache.get('a');
    cache.set('c', [3]);
    cache.set('x'.repeat(1000), [4]);
    expect([cache.get('a'), cache.get('b'), cache.get('c'), cache.size]).toEqual([[1], undefined, [3], 2]);
  });

  it('has the byte alphabet of GPT-2', () => {
    expect(new Set(byteToChar).size).toBe(256);
    expect([...byteToChar].sort()).toEqual(byteAlphabet().sort());
    expect(toByteAlphabet(' é\n')).toBe('ĠÃ©Ċ');
    expect([...fromByteAlphabet('ĠÃ©Ċ')]).toEqual([0x20, 0xc3, 0xa9, 0x0a]);
    expect([...fromByteAlphabet('▁a')]).toEqual([0xe2, 0x96, 0x81, 0x61]);
  });
});
