import { SEQUENCE_WORDS, Sequence } from '@quire/core/contract';
import { decodeFloats, encodeFloats } from '@quire/core/program';
import {
  longPrompt,
  longScenes,
  longShapes,
  manySequences,
  type Query,
  type Scene,
  type Shape,
  scenes,
  shapes,
  sixteen,
  sixteenBitLong,
  veryLong,
  veryLongScenes,
} from '../attention-scenes.ts';
import { cacheInputs, cacheValues, declareCaches } from '../caches.ts';
import { u, unitRoundoff, within } from '../checks.ts';
import { group } from '../define.ts';
import { floats, type Random } from '../random.ts';
import type { CaseGroup, CaseInputs, CaseVariant, CheckArguments } from '../types.ts';

export function pagedAttentionCases(): CaseGroup[] {
  return [
    ...shapes.flatMap(shape => attention(shape, scenes(shape.blockSize))),
    ...longShapes.flatMap(shape => attention(shape, longScenes)),
    ...sixteenBitLong.flatMap(shape => attention(shape, [...longScenes, longPrompt])),
    ...attention(veryLong, veryLongScenes),
    ...attention({ ...veryLong, heads: 2 }, veryLongScenes),
    ...attention({ ...veryLong, activations: 'f32', kv: 'f32', window: 5000 }, veryLongScenes),
    ...attention({ ...sixteen(4, 1, 32, 'bf16'), sequences: 300, tokens: 800, blocksPerSequence: 2 }, manySequences),
    // A workgroup per token and head: more than 65,535 of them.
    ...attention(
      {
        heads: 8,
        kvHeads: 1,
        headDim: 32,
        blockSize: 16,
        kv: 'f32',
        sequences: 8200,
        tokens: 8200,
        blocksPerSequence: 1,
      },
      [
        {
          name: 'more than 65,535 workgroups',
          queries: Array.from({ length: 8200 }, (_, i) => ({ queryLen: 1, contextLen: 1 + (i % 5) })),
        },
      ],
    ),
  ];
}

function attention(shape: Shape, list: readonly Scene[]): CaseGroup[] {
  const { heads, kvHeads, headDim, blockSize, activations = 'f32', kv, window = 0, softCap = 0, quick = false } = shape;
  const { tokens = 48, sequences = 8, blocksPerSequence = Math.ceil(64 / blockSize) + 2 } = shape;
  const numBlocks = Math.min(1 + sequences * blocksPerSequence, 700);
  const width = (heads + 2 * kvHeads) * headDim;
  const attributes = { scale: 1 / Math.sqrt(headDim), window, softCap, heads, kvHeads, headDim, blockSize };
  const dtypes = activations === 'f32' ? `kv=${kv}` : `${activations} kv=${kv}`;
  const extras = [window > 0 && `window=${window}`, softCap > 0 && `softCap=${softCap}`].filter(Boolean);
  return group({
    name: [`heads=${heads}/${kvHeads}x${headDim} block=${blockSize} ${dtypes}`, ...extras].join(' '),
    quick,
    maxSizes: { tokens, sequences, decodeSequences: sequences, blocksPerSequence, maxQueryTokens: tokens },
    build(builder) {
      builder.external('qkv', activations, ['tokens', width]);
      const caches = declareCaches(builder, kv, [numBlocks, kvHeads, blockSize, headDim]);
      builder.external('sequences', 'u32', ['sequences', SEQUENCE_WORDS]);
      builder.external('blockTables', 'u32', [sequences + 1, blocksPerSequence]);
      builder.external('out', activations, ['tokens', heads * headDim]);
      builder.add({
        op: 'pagedAttention',
        qkv: 'qkv',
        ...caches,
        sequences: 'sequences',
        blockTables: 'blockTables',
        out: 'out',
        ...attributes,
      });
    },
    checks: { out: check(shape, blocksPerSequence) },
    variants: list.map(scene => variant(scene, shape, numBlocks, blocksPerSequence, sequences + 1)),
    guarded: tokens < 1000,
  });
}

function variant(scene: Scene, shape: Shape, numBlocks: number, maxBlocks: number, rows: number): CaseVariant {
  const { queries, padding = 0, pattern = 'normal' } = scene;
  const tokens = queries.reduce((sum, query) => sum + query.queryLen, 0) + padding;
  const decodeSequences = queries.findIndex(query => query.queryLen > 1);
  const width = (shape.heads + 2 * shape.kvHeads) * shape.headDim;
  return {
    name: scene.name,
    ...(scene.quick !== undefined && { quick: scene.quick }),
    sizes: {
      tokens,
      sequences: queries.length,
      decodeSequences: decodeSequences < 0 ? queries.length : decodeSequences,
      maxQueryTokens: Math.max(...queries.map(query => query.queryLen)),
      blocksPerSequence: Math.max(1, ...queries.map(query => Math.ceil(query.contextLen / shape.blockSize))),
    },
    fill(random) {
      const tables = blockTables(random, queries, shape.blockSize, numBlocks, maxBlocks, rows);
      const sequences = sequenceRecords(queries, tables.rowOf);
      const caches = [0, 1].map(() => cacheContents(random, scene, shape, numBlocks, maxBlocks, tables));
      return {
        qkv: encodeFloats(shape.activations ?? 'f32', floats(random, tokens * width, pattern, shape.queryScale)),
        ...cacheInputs(shape.kv, caches[0]!, caches[1]!, shape.headDim),
        sequences,
        blockTables: tables.words,
      };
    },
  };
}

interface Tables {
  words: Uint32Array;
  rowOf: readonly number[];
}

/** Distinct blocks for each sequence while there are enough; entries behind the context are the null block. */
function blockTables(
  random: Random,
  queries: readonly Query[],
  blockSize: number,
  numBlocks: number,
  maxBlocks: number,
  rows: number,
): Tables {
  const free = random.shuffle(Array.from({ length: numBlocks - 1 }, (_, i) => 1 + i));
  const rowOf = random.distinct(queries.length, 0, rows);
  const words = new Uint32Array(rows * maxBlocks);
  let next = 0;
  queries.forEach(({ contextLen }, i) => {
    for (let block = 0; block * blockSize < contextLen; block++) {
      words[rowOf[i]! * maxBlocks + block] = free[next++ % free.length]!;
    }
  });
  return { words, rowOf };
}

function sequenceRecords(queries: readonly Query[], rowOf: readonly number[]): Uint32Array {
  const records = new Uint32Array(queries.length * SEQUENCE_WORDS);
  let queryStart = 0;
  queries.forEach(({ queryLen, contextLen }, i) => {
    const record = records.subarray(i * SEQUENCE_WORDS);
    record[Sequence.row] = rowOf[i]!;
    record[Sequence.queryStart] = queryStart;
    record[Sequence.queryLen] = queryLen;
    record[Sequence.contextLen] = contextLen;
    record[Sequence.firstPosition] = Math.max(0, contextLen - queryLen);
    record[Sequence.numTokens] = contextLen;
    queryStart += queryLen;
  });
  return records;
}

/** Values in the visible slots; everywhere else what a former request may have left. */
function cacheContents(
  random: Random,
  { queries, pattern = 'normal', stale = 1e4 }: Scene,
  { kvHeads, headDim, blockSize }: Shape,
  numBlocks: number,
  maxBlocks: number,
  { words, rowOf }: Tables,
): Float32Array {
  const blockElements = kvHeads * blockSize * headDim;
  const cache = new Float32Array(numBlocks * blockElements).fill(stale);
  queries.forEach(({ contextLen }, i) => {
    for (let block = 0; block * blockSize < contextLen; block++) {
      const start = words[rowOf[i]! * maxBlocks + block]! * blockElements;
      const slots = Math.min(blockSize, contextLen - block * blockSize);
      for (let head = 0; head < kvHeads; head++) {
        cache.set(floats(random, slots * headDim, pattern), start + head * blockSize * headDim);
      }
    }
  });
  return cache;
}

const reason =
  'softmax and its sum in f32: 5e-6 max|v|; scores are f32 dot products, off by up to 8u |q||k| scale (and tanh of a soft ' +
  'cap by 3e-7 of it), which moves the weights by as much; padding and spent rows are 0';

const sixteenBitReason =
  `${reason}. With 16-bit activations weights may be rounded to their dtype, each by a unit roundoff (and f16 below 2^-14 by ` +
  '2^-25): that of max|v|; both outputs are rounded once';

function check(shape: Shape, maxBlocks: number) {
  const { activations = 'f32' } = shape;
  if (activations === 'f32') return within(reason, args => scoreBounds(shape, maxBlocks, args));
  const roundoff = unitRoundoff[activations];
  const prepare = (args: Omit<CheckArguments, 'actual'>) => {
    const weightError = roundoff + (activations === 'f16' ? 2 ** -25 * shape.blockSize * maxBlocks : 0);
    const bound = scoreBounds(shape, maxBlocks, args, weightError);
    const smallest = activations === 'f16' ? 2 ** -24 : 0;
    return (i: number) => bound(i) + 2 * roundoff * Math.abs(args.expected[i]!) + smallest;
  };
  return within(sixteenBitReason, prepare, activations);
}

/** weightError: of one weight, relative to the largest. */
function scoreBounds(
  shape: Shape,
  maxBlocks: number,
  { inputs, sizes }: Omit<CheckArguments, 'actual'>,
  weightError = 0,
): (index: number) => number {
  const { heads, kvHeads, headDim, softCap = 0, activations = 'f32' } = shape;
  const bounds = new Float64Array(sizes.tokens * heads);
  const qkv = decodeFloats(activations, inputs.qkv!);
  const width = (heads + 2 * kvHeads) * headDim;
  for (let i = 0; i < sizes.sequences; i++) {
    const record = (inputs.sequences as Uint32Array).subarray(i * SEQUENCE_WORDS, (i + 1) * SEQUENCE_WORDS);
    const extent = cacheExtent(shape, inputs, record, maxBlocks);
    for (let j = 0; j < (extent === undefined ? 0 : record[Sequence.queryLen]!); j++) {
      const token = record[Sequence.queryStart]! + j;
      for (let head = 0; head < heads; head++) {
        const { keyNorm, largestValue } = extent![Math.floor((head * kvHeads) / heads)]!;
        const query = qkv.subarray(token * width + head * headDim, token * width + (head + 1) * headDim);
        const score = (norm(query) * keyNorm) / Math.sqrt(headDim);
        const scoreError = 8 * u * score + softCap * 3e-7;
        bounds[token * heads + head] = (5e-6 + 2 * scoreError + weightError) * largestValue;
      }
    }
  }
  return i => bounds[Math.floor(i / headDim)]!;
}

/** Per KV head: the largest norm of a key and the largest magnitude of a value in the context; undefined for a spent one. */
function cacheExtent(
  { kvHeads, headDim, blockSize, kv }: Shape,
  inputs: CaseInputs,
  record: Uint32Array,
  maxBlocks: number,
) {
  const contextLen = record[Sequence.contextLen]!;
  if (contextLen === 0) return undefined;
  return Array.from({ length: kvHeads }, (_, kvHead) => {
    let [keyNorm, largestValue] = [0, 0];
    for (let position = 0; position < contextLen; position++) {
      const block = inputs.blockTables![record[Sequence.row]! * maxBlocks + Math.floor(position / blockSize)]!;
      const start = ((block * kvHeads + kvHead) * blockSize + (position % blockSize)) * headDim;
      const vector = (cache: 'kCache' | 'vCache', scales: 'kScales' | 'vScales') => {
        const scale = inputs[scales]?.subarray(start / headDim, start / headDim + 1);
        return cacheValues(kv, inputs[cache]!.subarray(start, start + headDim), scale, headDim);
      };
      keyNorm = Math.max(keyNorm, norm(vector('kCache', 'kScales')));
      for (const value of vector('vCache', 'vScales')) {
        largestValue = Math.max(largestValue, Math.abs(value));
      }
    }
    return { keyNorm, largestValue };
  });
}

function norm(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += value * value;
  return Math.sqrt(sum);
}
