/** Geometries and batches for attention over the paged cache. */
import type { AttentionShape } from '@quire/core/contract';
import type { CacheType } from './caches.ts';
import type { Pattern } from './random.ts';
import type { FloatType } from './types.ts';

export interface Shape extends AttentionShape {
  /** f32 when left out. */
  activations?: FloatType;
  kv: CacheType;
  window?: number;
  softCap?: number;
  /** Of the queries, 1 when left out: few positions get most of the weight, so that a wrong one shows above the rounding. */
  queryScale?: number;
  quick?: boolean;
  tokens?: number;
  sequences?: number;
  blocksPerSequence?: number;
}

/** A sequence of a case: its queries are the last `queryLen` positions of `contextLen`; 0 marks a spent one. */
export interface Query {
  queryLen: number;
  contextLen: number;
}
export interface Scene {
  name: string;
  /** Decode sequences come first. */
  queries: readonly Query[];
  /** Tokens after the last sequence. */
  padding?: number;
  pattern?: Pattern;
  quick?: boolean;
  /** What lies in blocks and slots that no query may see. */
  stale?: number;
}

/** f32 activations, which every backend offers. */
const f32Shapes: readonly Shape[] = [
  { heads: 1, kvHeads: 1, headDim: 32, blockSize: 16, kv: 'f32', quick: true },
  { heads: 4, kvHeads: 2, headDim: 64, blockSize: 16, kv: 'f16', quick: true },
  { heads: 3, kvHeads: 3, headDim: 80, blockSize: 16, kv: 'f32', quick: true },
  { heads: 3, kvHeads: 1, headDim: 96, blockSize: 16, kv: 'f16', quick: true },
  { heads: 8, kvHeads: 1, headDim: 128, blockSize: 16, kv: 'f32' },
  { heads: 5, kvHeads: 1, headDim: 64, blockSize: 8, kv: 'f32', window: 7 },
  { heads: 12, kvHeads: 2, headDim: 32, blockSize: 32, kv: 'f16', window: 20, quick: true },
  { heads: 7, kvHeads: 1, headDim: 64, blockSize: 16, kv: 'f16', softCap: 30, quick: true },
  { heads: 4, kvHeads: 4, headDim: 80, blockSize: 16, kv: 'f16', softCap: 5, window: 33 },
  { heads: 2, kvHeads: 2, headDim: 8, blockSize: 4, kv: 'f32' },
];

/** 16-bit activations with a cache of their dtype. */
export function sixteen(heads: number, kvHeads: number, headDim: number, dtype: 'f16' | 'bf16'): Shape {
  return { heads, kvHeads, headDim, blockSize: 16, activations: dtype, kv: dtype, queryScale: 6 };
}

/** Every head dimension, groups of 1 to 16, and what no fast path takes. */
const sixteenBitShapes: readonly Shape[] = [
  { ...sixteen(2, 2, 32, 'bf16') },
  { ...sixteen(2, 2, 64, 'f16'), quick: true },
  { ...sixteen(3, 3, 96, 'bf16'), blockSize: 32 },
  { ...sixteen(2, 1, 80, 'f16'), blockSize: 8, quick: true },
  { ...sixteen(4, 2, 128, 'bf16'), window: 20 },
  { ...sixteen(2, 1, 256, 'f16'), softCap: 30 },
  { ...sixteen(2, 1, 32, 'f16') },
  { ...sixteen(2, 1, 64, 'bf16') },
  { ...sixteen(1, 1, 80, 'bf16') },
  { ...sixteen(2, 1, 96, 'f16') },
  { ...sixteen(1, 1, 128, 'f16') },
  { ...sixteen(1, 1, 256, 'bf16') },
  { ...sixteen(3, 1, 32, 'f16') },
  { ...sixteen(9, 1, 96, 'bf16') },
  { ...sixteen(10, 1, 80, 'f16') },
  { ...sixteen(3, 1, 96, 'f16'), softCap: 5, window: 33 },
  { ...sixteen(4, 1, 64, 'bf16'), quick: true },
  { ...sixteen(8, 2, 128, 'f16'), window: 7, quick: true },
  { ...sixteen(5, 1, 80, 'bf16'), blockSize: 8, softCap: 30, quick: true },
  { ...sixteen(6, 1, 256, 'bf16'), quick: true },
  { ...sixteen(7, 1, 64, 'f16'), blockSize: 4, window: 33 },
  { ...sixteen(8, 1, 128, 'bf16') },
  { ...sixteen(12, 1, 32, 'bf16'), window: 20, blockSize: 32, quick: true },
  { ...sixteen(16, 1, 64, 'f16'), softCap: 30, quick: true },
  { ...sixteen(16, 1, 128, 'bf16') },
  { ...sixteen(16, 1, 256, 'f16') },
  { ...sixteen(18, 1, 64, 'bf16') },
  { ...sixteen(4, 2, 64, 'f16'), kv: 'f32' },
  { ...sixteen(4, 1, 24, 'bf16') },
  { ...sixteen(4, 1, 64, 'f16'), blockSize: 12 },
  { ...sixteen(4, 2, 256, 'f16'), activations: 'f32', kv: 'bf16' },
];

const long = { blocksPerSequence: 128, sequences: 3 };
export const longShapes: readonly Shape[] = [
  { ...long, heads: 2, kvHeads: 1, headDim: 64, blockSize: 16, kv: 'f32', tokens: 40 },
  { ...long, heads: 4, kvHeads: 1, headDim: 80, blockSize: 16, kv: 'f16', window: 1024, softCap: 50, tokens: 40 },
  { ...long, heads: 3, kvHeads: 1, headDim: 96, blockSize: 16, kv: 'i8', tokens: 40 },
  { ...long, heads: 4, kvHeads: 2, headDim: 32, blockSize: 16, kv: 'f8e4m3', window: 700, tokens: 40 },
];
export const sixteenBitLong: readonly Shape[] = [
  { ...sixteen(2, 2, 64, 'f16'), quick: true },
  { ...sixteen(4, 1, 64, 'bf16'), quick: true },
  { ...sixteen(8, 2, 128, 'f16'), window: 1024, softCap: 50 },
  { ...sixteen(4, 1, 64, 'bf16'), kv: 'i8' as const },
  { ...sixteen(4, 2, 128, 'f16'), kv: 'f8e4m3' as const },
].map(shape => ({ ...shape, ...long, tokens: 200 }));

/** A prompt over several tiles of queries and of keys. */
export const longPrompt: Scene = {
  name: 'long prompt',
  queries: [
    { queryLen: 1, contextLen: 70 },
    { queryLen: 150, contextLen: 150 },
  ],
  padding: 5,
};

/** Contexts beyond 4096 positions, where parts of a split context grow. */
export const veryLong: Shape = { ...sixteen(4, 1, 32, 'bf16'), blocksPerSequence: 640, sequences: 4, tokens: 8 };
export const veryLongScenes: readonly Scene[] = [
  {
    name: 'very long decode',
    queries: [4097, 10_000, 4096, 6200].map(contextLen => ({ queryLen: 1, contextLen })),
  },
];

/** More sequences than a thread block has threads. */
export const manySequences: readonly Scene[] = [
  {
    name: 'many prompts',
    queries: Array.from({ length: 290 }, (_, i) =>
      i < 20
        ? { queryLen: 1, contextLen: 1 + i }
        : { queryLen: 2 + (i % 2), contextLen: i % 7 === 0 ? 0 : 3 + (i % 19) },
    ),
    padding: 9,
  },
  {
    name: 'many decode rows',
    queries: Array.from({ length: 300 }, (_, i) => ({ queryLen: 1, contextLen: i % 5 === 0 ? 0 : i % 33 })),
  },
];

export function scenes(blockSize: number): Scene[] {
  const decode = (...contexts: number[]) => contexts.map(contextLen => ({ queryLen: 1, contextLen }));
  return [
    { name: 'decode', queries: decode(1, blockSize - 1, blockSize, blockSize + 1, 3 * blockSize + 2) },
    { name: 'one token', queries: decode(1) },
    { name: 'prefill', queries: [{ queryLen: 21, contextLen: 21 }] },
    { name: 'chunk', queries: [{ queryLen: 9, contextLen: 40 }] },
    {
      name: 'mixed',
      queries: [...decode(5, 37, 64), { queryLen: 7, contextLen: 7 }, { queryLen: 12, contextLen: 50 }],
      padding: 3,
    },
    {
      name: 'spent between',
      queries: [...decode(9, 0, 30), { queryLen: 6, contextLen: 0 }, { queryLen: 5, contextLen: 11 }],
    },
    { name: 'outliers', queries: [...decode(33), { queryLen: 4, contextLen: 20 }], pattern: 'outliers' },
    { name: 'equal keys', queries: decode(17, 50), pattern: 'ties' },
    { name: 'stale NaN', queries: [...decode(3, 18), { queryLen: 3, contextLen: 10 }], stale: Number.NaN, padding: 2 },
  ];
}

/** Contexts over three splits of the cache. */
export const longScenes: readonly Scene[] = [
  {
    name: 'long decode',
    queries: [
      { queryLen: 1, contextLen: 1700 },
      { queryLen: 1, contextLen: 1025 },
      { queryLen: 1, contextLen: 3 },
    ],
    quick: true,
  },
  {
    name: 'long chunk',
    queries: [
      { queryLen: 1, contextLen: 2048 },
      { queryLen: 33, contextLen: 1555 },
    ],
  },
  {
    name: 'splits end',
    queries: [
      { queryLen: 1, contextLen: 512 },
      { queryLen: 1, contextLen: 513 },
      { queryLen: 1, contextLen: 1024 },
    ],
  },
];

/** Caches of codes, beside activations of every dtype. */
const codedShapes: readonly Shape[] = (['i8', 'f8e4m3'] as const).flatMap((kv): Shape[] => [
  { heads: 4, kvHeads: 2, headDim: 64, blockSize: 16, kv, quick: true },
  { heads: 3, kvHeads: 3, headDim: 80, blockSize: 8, kv, window: 7, softCap: 30 },
  { heads: 2, kvHeads: 2, headDim: 12, blockSize: 4, kv, quick: true },
  { ...sixteen(4, 1, 128, 'bf16'), kv, quick: true },
  { ...sixteen(6, 2, 32, 'f16'), kv, window: 20 },
  { ...sixteen(2, 1, 256, 'bf16'), kv },
  { ...sixteen(3, 1, 96, 'f16'), kv, blockSize: 12 },
  // Forms of their own: groups of up to 4, 8 and 16 heads.
  { ...sixteen(8, 2, 64, 'f16'), kv, blockSize: 8, softCap: 30, window: 33, quick: true },
  { ...sixteen(7, 1, 128, 'f16'), kv },
  { ...sixteen(16, 1, 64, 'bf16'), kv },
  { ...sixteen(6, 1, 256, 'f16'), kv, softCap: 5 },
]);

export const shapes: readonly Shape[] = [...f32Shapes, ...sixteenBitShapes, ...codedShapes];
