import {
  type DType,
  NO_THRESHOLD,
  NONE,
  ROW_WORDS,
  Row,
  SAMPLE_WORDS,
  SEQUENCE_WORDS,
  Sequence,
  type StepSizes,
  shapeBytes,
  type TensorName,
  type TypedArray,
} from '@quire/core/contract';
import type { ProgramBuilder } from '@quire/core/program';

/** One operation at one shape, to be timed. */
export interface OpSubject {
  /** Without the leading `ops.`. */
  name: string;
  sizes: Partial<StepSizes>;
  build(builder: ProgramBuilder): void;
  /** Contents that decide how much is computed; the rest stays zero. */
  contents?: Readonly<Record<TensorName, TypedArray>>;
  /** Bytes that must cross the memory bus at least; null where arithmetic limits the op, not memory. */
  bytes: number | null;
}

/** The shapes of a model that decide the cost of its operations. */
interface ModelShape {
  hidden: number;
  intermediate: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  vocab: number;
}
const tinyLlama: ModelShape = {
  hidden: 192,
  intermediate: 512,
  heads: 6,
  kvHeads: 2,
  headDim: 32,
  vocab: 1024,
};
const llama1B: ModelShape = {
  hidden: 2048,
  intermediate: 8192,
  heads: 32,
  kvHeads: 8,
  headDim: 64,
  vocab: 128_256,
};

const BLOCK_SIZE = 16;
const CONTEXT = 256;
/** From so many rows on, arithmetic limits a linear op rather than its weights' way through memory. */
const WIDE_ROWS = 32;

/** The operations of a step, at the shapes of tiny-llama and of a model with 1B parameters. */
export function opSubjects(): OpSubject[] {
  const subjects = [tinyLlama, llama1B].flatMap(model => {
    const { hidden, intermediate, heads, kvHeads, headDim, vocab } = model;
    const qkv = (heads + 2 * kvHeads) * headDim;
    return [
      ...[1, 8, 64].map(rows => linear('f16', rows, qkv, hidden)),
      ...[1, 8, 64].map(rows => linear('f16', rows, 2 * intermediate, hidden)),
      ...[1, 8, 64].map(rows => gatedLinear('f16', rows, intermediate, hidden)),
      ...[1, 8, 64].map(rows => linear('f16', rows, hidden, hidden)),
      linear('f32', 8, hidden, hidden),
      linear('bf16', 8, hidden, hidden),
      linear('f16', 1, vocab, hidden),
      rmsNorm(8, hidden),
      gatedActivation(8, intermediate),
      ropeKvWrite(model, 1),
      ropeKvWrite(model, 64),
      attention(model, 8, 1),
      attention(model, 1, 64),
      argmax(8, vocab),
      sampling('filterLogits', 8, vocab),
      sampling('sample', 8, vocab),
    ];
  });
  // Two matrices of one model may have the same shape.
  return [...new Map(subjects.map(subject => [subject.name, subject])).values()];
}

/** Reads two vectors and writes one, all long: as near to a copy as an op comes. */
export function bandwidthSubject(elements: number): OpSubject {
  return {
    name: 'bandwidth',
    sizes: { tokens: elements / 1024 },
    build(builder) {
      for (const name of ['a', 'b', 'out']) builder.external(name, 'f32', ['tokens', 1024]);
      builder.add({ op: 'add', a: 'a', b: 'b', out: 'out' });
    },
    bytes: 3 * 4 * elements,
  };
}

function linear(dtype: DType, rows: number, n: number, k: number): OpSubject {
  return {
    name: `linear.${dtype}.${rows}x${n}x${k}`,
    sizes: { tokens: rows },
    build(builder) {
      builder.external('x', 'f32', ['tokens', k]);
      builder.external('weight', dtype, [n, k]);
      builder.external('out', 'f32', ['tokens', n]);
      builder.add({ op: 'linear', x: 'x', weight: 'weight', out: 'out', activation: 'none', outColumn: 0 });
    },
    bytes: rows < WIDE_ROWS ? shapeBytes(dtype, [n, k]) + rows * (n + k) * 4 : null,
  };
}

function gatedLinear(dtype: DType, rows: number, n: number, k: number): OpSubject {
  return {
    name: `gatedLinear.${dtype}.${rows}x${n}x${k}`,
    sizes: { tokens: rows },
    build(builder) {
      builder.external('x', 'f32', ['tokens', k]);
      builder.external('weight', dtype, [2 * n, k]);
      builder.external('out', 'f32', ['tokens', n]);
      builder.add({ op: 'gatedLinear', x: 'x', weight: 'weight', out: 'out', activation: 'silu' });
    },
    bytes: rows < WIDE_ROWS ? shapeBytes(dtype, [2 * n, k]) + rows * (n + k) * 4 : null,
  };
}

function rmsNorm(rows: number, width: number): OpSubject {
  return {
    name: `rmsNorm.${rows}x${width}`,
    sizes: { tokens: rows },
    build(builder) {
      for (const name of ['x', 'residual', 'out']) builder.external(name, 'f32', ['tokens', width]);
      builder.external('weight', 'f32', [width]);
      builder.add({
        op: 'rmsNorm',
        x: 'x',
        weight: 'weight',
        residual: 'residual',
        sum: 'residual',
        out: 'out',
        eps: 1e-5,
      });
    },
    bytes: 4 * 4 * rows * width,
  };
}

function gatedActivation(rows: number, width: number): OpSubject {
  return {
    name: `gatedActivation.${rows}x${width}`,
    sizes: { tokens: rows },
    build(builder) {
      builder.external('x', 'f32', ['tokens', 2 * width]);
      builder.external('out', 'f32', ['tokens', width]);
      builder.add({ op: 'gatedActivation', x: 'x', out: 'out', activation: 'silu' });
    },
    bytes: 3 * 4 * rows * width,
  };
}

/** `tokens` tokens at the first positions, to consecutive slots. */
function ropeKvWrite({ heads, kvHeads, headDim }: ModelShape, tokens: number): OpSubject {
  const width = (heads + 2 * kvHeads) * headDim;
  const places = Uint32Array.from({ length: tokens }, (_, i) => i);
  return {
    name: `ropeKvWrite.f32.${tokens}.${heads}x${kvHeads}x${headDim}`,
    sizes: { tokens },
    build(builder) {
      builder.external('qkv', 'f32', ['tokens', width]);
      for (const name of ['positions', 'slotMapping']) builder.external(name, 'u32', ['tokens']);
      builder.external('table', 'f32', [tokens, headDim]);
      for (const cache of ['kCache', 'vCache']) {
        builder.external(cache, 'f32', [Math.ceil(tokens / BLOCK_SIZE), kvHeads, BLOCK_SIZE, headDim]);
      }
      const tensors = { qkv: 'qkv', positions: 'positions', table: 'table', slotMapping: 'slotMapping' };
      const shape = { heads, kvHeads, headDim, blockSize: BLOCK_SIZE, rotaryDim: headDim, interleaved: false };
      builder.add({ op: 'ropeKvWrite', ...tensors, kCache: 'kCache', vCache: 'vCache', ...shape });
    },
    contents: { positions: places, slotMapping: places },
    // Queries and keys are read and written, values read; keys and values written once more; and the table.
    bytes: 4 * tokens * (2 * width + headDim),
  };
}

/** `count` sequences of CONTEXT positions, each with `queryLen` queries at their end. */
function attention({ heads, kvHeads, headDim }: ModelShape, count: number, queryLen: number): OpSubject {
  const blocks = CONTEXT / BLOCK_SIZE;
  const tokens = count * queryLen;
  const sequences = new Uint32Array(count * SEQUENCE_WORDS);
  for (let i = 0; i < count; i++) {
    const record = sequences.subarray(i * SEQUENCE_WORDS);
    record[Sequence.row] = i;
    record[Sequence.queryStart] = i * queryLen;
    record[Sequence.queryLen] = queryLen;
    record[Sequence.contextLen] = CONTEXT;
    record[Sequence.firstPosition] = CONTEXT - queryLen;
    record[Sequence.numTokens] = CONTEXT;
  }
  const decodeSequences = queryLen === 1 ? count : 0;
  return {
    name: `pagedAttention.f32.${count}x${queryLen}.${heads}x${kvHeads}x${headDim}.${CONTEXT}`,
    sizes: { tokens, sequences: count, decodeSequences, blocksPerSequence: blocks, maxQueryTokens: queryLen },
    build(builder) {
      builder.external('qkv', 'f32', ['tokens', (heads + 2 * kvHeads) * headDim]);
      for (const cache of ['kCache', 'vCache']) {
        builder.external(cache, 'f32', [1 + count * blocks, kvHeads, BLOCK_SIZE, headDim]);
      }
      builder.external('sequences', 'u32', ['sequences', SEQUENCE_WORDS]);
      builder.external('blockTables', 'u32', [count, blocks]);
      builder.external('out', 'f32', ['tokens', heads * headDim]);
      const tensors = {
        qkv: 'qkv',
        kCache: 'kCache',
        vCache: 'vCache',
        sequences: 'sequences',
        blockTables: 'blockTables',
      };
      const shape = { heads, kvHeads, headDim, blockSize: BLOCK_SIZE };
      const scale = 1 / Math.sqrt(headDim);
      builder.add({ op: 'pagedAttention', ...tensors, out: 'out', scale, window: 0, softCap: 0, ...shape });
    },
    contents: { sequences, blockTables: Uint32Array.from({ length: count * blocks }, (_, i) => 1 + i) },
    bytes: queryLen === 1 ? 2 * 4 * count * CONTEXT * kvHeads * headDim : null,
  };
}

function argmax(count: number, vocab: number): OpSubject {
  return {
    name: `argmax.${count}x${vocab}`,
    sizes: { samples: count },
    build(builder) {
      builder.external('logits', 'f32', ['samples', vocab]);
      builder.external('samples', 'u32', ['samples', SAMPLE_WORDS]);
      builder.external('sampled', 'u32', ['samples', 2]);
      builder.add({ op: 'argmax', logits: 'logits', samples: 'samples', sampled: 'sampled' });
    },
    contents: { logits: someLogits(count * vocab), samples: openSamples(count) },
    bytes: 4 * count * vocab,
  };
}

/** temperature 0.8, top_k 50, top_p 0.95 on every row. */
function sampling(op: 'filterLogits' | 'sample', count: number, vocab: number): OpSubject {
  return {
    name: `${op}.${count}x${vocab}`,
    sizes: { samples: count },
    build(builder) {
      builder.external('logits', 'f32', ['samples', vocab]);
      builder.external('samples', 'u32', ['samples', SAMPLE_WORDS]);
      builder.external('rows', 'u32', [count, ROW_WORDS]);
      builder.external('thresholds', 'f32', ['samples']);
      const shared = { logits: 'logits', samples: 'samples', rows: 'rows', thresholds: 'thresholds' };
      if (op === 'filterLogits') return builder.add({ op, ...shared });
      builder.external('sampled', 'u32', ['samples', 2]);
      builder.add({ op, ...shared, sampled: 'sampled' });
    },
    contents: {
      logits: someLogits(count * vocab),
      samples: openSamples(count),
      rows: samplerRows(count),
      thresholds: new Float32Array(count).fill(NO_THRESHOLD),
    },
    bytes: 4 * count * vocab,
  };
}

function openSamples(count: number): Uint32Array {
  const records = new Uint32Array(count * SAMPLE_WORDS);
  for (let i = 0; i < count; i++) records.set([i, i, CONTEXT, NONE], i * SAMPLE_WORDS);
  return records;
}

function samplerRows(count: number): Uint32Array {
  const words = new Uint32Array(count * ROW_WORDS);
  const floats = new Float32Array(words.buffer);
  for (let i = 0; i < count; i++) {
    const row = i * ROW_WORDS;
    floats[row + Row.temperature] = 0.8;
    floats[row + Row.topP] = 0.95;
    words[row + Row.topK] = 50;
    words[row + Row.seedLow] = i;
  }
  return words;
}

/** Logits in [-8, 8), without order. */
function someLogits(count: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => ((Math.imul(i, 0x9e3779b1) >>> 0) / 2 ** 32) * 16 - 8);
}
