import { type DType, NONE, type Op, SEQUENCE_WORDS } from '@quire/core/contract';
import { decodeFloats, encodeFloats } from '@quire/core/program';
import { describe, expect, it } from 'vitest';
import { runOps, type TestTensor, u32 } from './run-op.ts';

const BLOCK_SIZE = 4;
const NUM_BLOCKS = 9;

interface Case {
  heads: number;
  kvHeads: number;
  window?: number;
  softCap?: number;
  kv?: DType;
}

/** Smooth numbers, rounded to the dtype so that both sides start from the same. */
const numbers = (count: number, step: number, dtype: DType = 'f32') =>
  Array.from(
    decodeFloats(
      dtype,
      encodeFloats(
        dtype,
        Float32Array.from({ length: count }, (_, i) => Math.sin(i * step + 1)),
      ),
    ),
  );

const HEAD_DIM = 8;
// row, blocks, context length, queries; the last one is spent.
const sequences = [
  { row: 1, blocks: [3, 8], contextLen: 7, queryLen: 1 },
  { row: 0, blocks: [5, 1, 7], contextLen: 11, queryLen: 4 },
  { row: 2, blocks: [2], contextLen: 0, queryLen: 1 },
];
const TOKENS = 7; // 1 + 4 + 1, and one of padding

function sequenceWords(): number[] {
  let start = 0;
  return sequences.flatMap(({ row, contextLen, queryLen }) => {
    const record = [row, start, queryLen, contextLen, 0, 0, contextLen === 0 ? 2 : contextLen - queryLen, 0];
    start += queryLen;
    return record;
  });
}

/** Dense attention over explicit lists of keys and values, as in the paper. */
function denseAttention(qkv: number[], keys: number[], values: number[], c: Case): number[] {
  const width = (c.heads + 2 * c.kvHeads) * HEAD_DIM;
  const out = new Array<number>(TOKENS * c.heads * HEAD_DIM).fill(0);
  let token = 0;
  for (const { blocks, contextLen, queryLen } of sequences) {
    for (let q = 0; q < queryLen; q++, token++) {
      if (contextLen === 0) continue;
      const position = contextLen - queryLen + q;
      const visible = Array.from({ length: position + 1 }, (_, p) => p).filter(
        p => !c.window || position - p < c.window,
      );
      for (let head = 0; head < c.heads; head++) {
        const kvHead = Math.floor(head / (c.heads / c.kvHeads));
        const vector = (cache: number[], p: number) => {
          const block = blocks[Math.floor(p / BLOCK_SIZE)]!;
          const at = ((block * c.kvHeads + kvHead) * BLOCK_SIZE + (p % BLOCK_SIZE)) * HEAD_DIM;
          return cache.slice(at, at + HEAD_DIM);
        };
        const query = qkv.slice(token * width + head * HEAD_DIM, token * width + (head + 1) * HEAD_DIM);
        const scores = visible.map(p => {
          const score = 0.35 * vector(keys, p).reduce((sum, k, d) => sum + k * query[d]!, 0);
          return c.softCap ? c.softCap * Math.tanh(score / c.softCap) : score;
        });
        const total = scores.reduce((sum, score) => sum + Math.exp(score), 0);
        visible.forEach((p, i) => {
          const share = Math.exp(scores[i]!) / total;
          vector(values, p).forEach((v, d) => {
            out[(token * c.heads + head) * HEAD_DIM + d]! += share * v;
          });
        });
      }
    }
  }
  return out;
}

describe('pagedAttention', () => {
  it.each([
    { heads: 4, kvHeads: 4 },
    { heads: 6, kvHeads: 2 },
    { heads: 3, kvHeads: 1, window: 3 },
    { heads: 2, kvHeads: 2, window: 1 },
    { heads: 4, kvHeads: 2, softCap: 0.4 },
    { heads: 4, kvHeads: 1, window: 5, softCap: 0.8, kv: 'f16' },
    { heads: 2, kvHeads: 1, kv: 'bf16' },
  ] satisfies Case[])('agrees with dense attention: %j', async c => {
    const kv: DType = c.kv ?? 'f32';
    const width = (c.heads + 2 * c.kvHeads) * HEAD_DIM;
    const cacheShape = [NUM_BLOCKS, c.kvHeads, BLOCK_SIZE, HEAD_DIM];
    const cacheSize = NUM_BLOCKS * c.kvHeads * BLOCK_SIZE * HEAD_DIM;
    const [qkv, keys, values] = [
      numbers(TOKENS * width, 1.1),
      numbers(cacheSize, 0.7, kv),
      numbers(cacheSize, 1.9, kv),
    ];
    const blockTables = new Uint32Array(3 * 3);
    for (const { row, blocks } of sequences) blockTables.set(blocks, row * 3);
    const tensors: Record<string, TestTensor> = {
      qkv: { dtype: 'f32', shape: [TOKENS, width], data: qkv },
      k: { dtype: kv, shape: cacheShape, data: keys },
      v: { dtype: kv, shape: cacheShape, data: values },
      sequences: u32([3, SEQUENCE_WORDS], sequenceWords()),
      blockTables: u32([3, 3], blockTables),
      out: { dtype: 'f32', shape: [TOKENS, c.heads * HEAD_DIM], data: new Array(TOKENS * c.heads * HEAD_DIM).fill(9) },
    };
    const op: Op = {
      op: 'pagedAttention',
      qkv: 'qkv',
      kCache: 'k',
      vCache: 'v',
      sequences: 'sequences',
      blockTables: 'blockTables',
      out: 'out',
      scale: 0.35,
      window: c.window ?? 0,
      softCap: c.softCap ?? 0,
      heads: c.heads,
      kvHeads: c.kvHeads,
      headDim: HEAD_DIM,
      blockSize: BLOCK_SIZE,
    };
    const { out } = await runOps([op], tensors, ['out']);
    const expected = denseAttention(qkv, keys, values, c);
    expect(Math.max(...out.map((value, i) => Math.abs(value - expected[i]!)))).toBeLessThan(2e-7);
    expect(out.slice(5 * c.heads * HEAD_DIM)).toEqual(new Array(2 * c.heads * HEAD_DIM).fill(0));
  });
});

describe('caches', () => {
  const shape = [4, 2, 2, 3]; // blocks, heads, slots, dimensions
  const size = 48;
  const cache = (offset: number): TestTensor => ({
    dtype: 'f16',
    shape,
    data: Array.from({ length: size }, (_, i) => offset + i),
  });

  it('kvWrite puts each key and value at its slot and skips padding', async () => {
    const width = (2 + 2 * 2) * 3;
    const tensors = {
      qkv: { dtype: 'f32' as const, shape: [3, width], data: Array.from({ length: 3 * width }, (_, i) => 100 + i) },
      slotMapping: u32([3], [5, NONE, 2]),
      k: cache(0),
      v: cache(500),
    };
    const geometry = { heads: 2, kvHeads: 2, headDim: 3, blockSize: 2 };
    const op: Op = { op: 'kvWrite', qkv: 'qkv', slotMapping: 'slotMapping', kCache: 'k', vCache: 'v', ...geometry };
    const out = await runOps([op], tensors, ['k', 'v']);
    const [k, v] = [cache(0).data as number[], cache(500).data as number[]];
    // Slot 5 is block 2, slot 1; slot 2 is block 1, slot 0. [block][head][slot][dimension]
    const put = (values: number[], block: number, head: number, slot: number, first: number) =>
      values.splice(block * 12 + head * 6 + slot * 3, 3, first, first + 1, first + 2);
    // Slot 5 is slot 1 of block 2, slot 2 is slot 0 of block 1. Token 0 has its keys from 106 on, token 2 from 142 on.
    put(k, 2, 0, 1, 106);
    put(k, 2, 1, 1, 109);
    put(v, 2, 0, 1, 112);
    put(v, 2, 1, 1, 115);
    put(k, 1, 0, 0, 142);
    put(k, 1, 1, 0, 145);
    put(v, 1, 0, 0, 148);
    put(v, 1, 1, 0, 151);
    expect(out.k).toEqual(k);
    expect(out.v).toEqual(v);
  });

  it('copyBlocks reads all pairs before it writes any', async () => {
    const tensors = { k: cache(0), v: cache(100), pairs: u32([4, 2], [0, 1, 1, 0, NONE, 2, 3, NONE]) };
    const op: Op = { op: 'copyBlocks', kCache: 'k', vCache: 'v', pairs: 'pairs' };
    const out = await runOps([op], tensors, ['k', 'v']);
    const k = cache(0).data as number[];
    expect(out.k).toEqual([...k.slice(12, 24), ...k.slice(0, 12), ...k.slice(24)]);
    expect(out.v).toEqual(out.k.map(value => value + 100));
  });

  it('zeroBlocks clears the blocks of its list', async () => {
    const tensors = { k: cache(1), v: cache(101), blocks: u32([3], [2, NONE, 0]) };
    const op: Op = { op: 'zeroBlocks', kCache: 'k', vCache: 'v', blocks: 'blocks' };
    const out = await runOps([op], tensors, ['k', 'v']);
    const cleared = (values: number[]) => values.map((value, i) => ([0, 2].includes(Math.floor(i / 12)) ? 0 : value));
    expect(out.k).toEqual(cleared(cache(1).data as number[]));
    expect(out.v).toEqual(cleared(cache(101).data as number[]));
  });
});
