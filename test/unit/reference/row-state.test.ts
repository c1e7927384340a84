import {
  BATCH_WORDS,
  Batch,
  BatchHeader,
  DeltaTarget,
  NONE,
  type Op,
  ROW_WORDS,
  Row,
  SAMPLE_FINITE,
  SAMPLE_LIVE,
  SAMPLE_WORDS,
  SEQUENCE_WORDS,
} from '@quire/core/contract';
import { RowDelta } from '@quire/core/program';
import { describe, expect, it } from 'vitest';
import { openSession, runOps, type TestTensor, u32 } from './run-op.ts';

const MAX_ROWS = 4;
const MODEL_LEN = 12;
const BLOCK_SIZE = 4;
const BLOCKS = 3;
const RING_SLOTS = 3;

interface RowState {
  tokens: number[];
  numComputed: number;
  tokenLimit?: number;
  blockCredit?: number;
  blocks: number[];
}

/** rows, tokenIds and blockTables with these rows, at their indices. */
function rowTensors(states: Record<number, RowState>): Record<string, TestTensor> {
  const rows = new Uint32Array(MAX_ROWS * ROW_WORDS);
  const tokenIds = new Uint32Array(MAX_ROWS * MODEL_LEN);
  const blockTables = new Uint32Array(MAX_ROWS * BLOCKS);
  for (const [index, state] of Object.entries(states)) {
    const at = Number(index) * ROW_WORDS;
    rows[at + Row.numTokens] = state.tokens.length;
    rows[at + Row.numComputed] = state.numComputed;
    rows[at + Row.tokenLimit] = state.tokenLimit ?? MODEL_LEN;
    rows[at + Row.blockCredit] = state.blockCredit ?? state.blocks.length * BLOCK_SIZE;
    tokenIds.set(state.tokens, Number(index) * MODEL_LEN);
    blockTables.set(state.blocks, Number(index) * BLOCKS);
  }
  return {
    rows: u32([MAX_ROWS, ROW_WORDS], rows),
    tokenIds: u32([MAX_ROWS, MODEL_LEN], tokenIds),
    blockTables: u32([MAX_ROWS, BLOCKS], blockTables),
  };
}

interface BatchEntry {
  row: number;
  queryLen: number;
  sampleCount: number;
}

function batchTensor(entries: BatchEntry[], stepCounter = 0): TestTensor {
  const batch = new Uint32Array((1 + MAX_ROWS) * BATCH_WORDS);
  let [tokens, samples] = [0, 0];
  entries.forEach(({ row, queryLen, sampleCount }, i) => {
    const at = (1 + i) * BATCH_WORDS;
    batch[at + Batch.row] = row;
    batch[at + Batch.queryStart] = tokens;
    batch[at + Batch.queryLen] = queryLen;
    batch[at + Batch.sampleStart] = samples;
    batch[at + Batch.sampleCount] = sampleCount;
    tokens += queryLen;
    samples += sampleCount;
  });
  batch[BatchHeader.numSequences] = entries.length;
  batch[BatchHeader.stepCounter] = stepCounter;
  batch[BatchHeader.numTokens] = tokens;
  batch[BatchHeader.numSamples] = samples;
  return u32([1 + MAX_ROWS, BATCH_WORDS], batch);
}

const prepareInputs: Op = {
  op: 'prepareInputs',
  batch: 'batch',
  rows: 'rows',
  tokenIds: 'tokenIds',
  blockTables: 'blockTables',
  inputIds: 'inputIds',
  positions: 'positions',
  slotMapping: 'slotMapping',
  sequences: 'sequences',
  blockSize: BLOCK_SIZE,
};
const prepareSamples: Op = {
  op: 'prepareSamples',
  batch: 'batch',
  sequences: 'sequences',
  tokenIds: 'tokenIds',
  samples: 'samples',
};
const advanceRows: Op = {
  op: 'advanceRows',
  batch: 'batch',
  sequences: 'sequences',
  samples: 'samples',
  sampled: 'sampled',
  rows: 'rows',
  tokenIds: 'tokenIds',
  ring: 'ring',
};

function stepTensors(tokens: number, sequences: number, samples: number): Record<string, TestTensor> {
  const garbage = (length: number) => new Array<number>(length).fill(0xabcdef01);
  return {
    inputIds: u32([tokens], garbage(tokens)),
    positions: u32([tokens], garbage(tokens)),
    slotMapping: u32([tokens], garbage(tokens)),
    sequences: u32([sequences, SEQUENCE_WORDS], garbage(sequences * SEQUENCE_WORDS)),
    samples: u32([samples, SAMPLE_WORDS], garbage(samples * SAMPLE_WORDS)),
  };
}

const rowOf = (words: number[], index: number, width: number) => words.slice(index * width, (index + 1) * width);

describe('applyRowDelta', () => {
  it('scatters segments into all five targets and leaves the rest', async () => {
    const delta = new RowDelta();
    delta.add(DeltaTarget.rows, ROW_WORDS + 2, Uint32Array.of(7, 8));
    delta.add(DeltaTarget.blockTables, 3, Uint32Array.of(5));
    delta.add(DeltaTarget.tokenIds, 11, Uint32Array.of(1, 2, 3));
    delta.add(DeltaTarget.batch, 0, Uint32Array.of(4));
    delta.add(DeltaTarget.biases, 1, Uint32Array.of(9, NONE));
    const packed = new Uint32Array(64);
    packed.set(delta.pack());
    const state = {
      rows: u32([MAX_ROWS, ROW_WORDS]),
      blockTables: u32([MAX_ROWS, BLOCKS]),
      tokenIds: u32([MAX_ROWS, MODEL_LEN]),
      batch: u32([1 + MAX_ROWS, BATCH_WORDS]),
      biases: u32([MAX_ROWS, 4]),
    };
    const op: Op = {
      op: 'applyRowDelta',
      delta: 'delta',
      rows: 'rows',
      blockTables: 'blockTables',
      tokenIds: 'tokenIds',
      batch: 'batch',
      biases: 'biases',
    };
    const names = ['rows', 'blockTables', 'tokenIds', 'batch', 'biases'] as const;
    const out = await runOps([op], { delta: u32([64], packed), ...state }, names, { deltaSegments: delta.segments });
    const set = (words: number[]) => words.flatMap((word, index) => (word === 0 ? [] : [[index, word]]));
    expect(set(out.rows)).toEqual([
      [ROW_WORDS + 2, 7],
      [ROW_WORDS + 3, 8],
    ]);
    expect(set(out.blockTables)).toEqual([[3, 5]]);
    expect(set(out.tokenIds)).toEqual([
      [11, 1],
      [12, 2],
      [13, 3],
    ]);
    expect(set(out.batch)).toEqual([[0, 4]]);
    expect(set(out.biases)).toEqual([
      [1, 9],
      [2, NONE],
    ]);
  });
});

describe('prepareInputs and prepareSamples', () => {
  it('lay out a decode row, a prefill chunk with prompt logprobs, spent rows and padding', async () => {
    const tensors = {
      ...rowTensors({
        2: { tokens: [10, 11, 12, 13, 14, 15], numComputed: 5, blocks: [7, 9] },
        0: { tokens: [20, 21, 22, 23, 24, 25, 26], numComputed: 2, blocks: [3, 4] },
        1: { tokens: [30, 31, 32, 33, 34], numComputed: 4, blocks: [5], blockCredit: 4 },
        3: { tokens: [40, 41], numComputed: 1, blocks: [6], tokenLimit: 2 },
      }),
      batch: batchTensor(
        [
          { row: 2, queryLen: 1, sampleCount: 1 },
          { row: 1, queryLen: 1, sampleCount: 1 },
          { row: 3, queryLen: 1, sampleCount: 1 },
          { row: 0, queryLen: 4, sampleCount: 3 },
        ],
        41,
      ),
      ...stepTensors(9, 4, 8),
    };
    const names = ['inputIds', 'positions', 'slotMapping', 'sequences', 'samples', 'batch'] as const;
    const out = await runOps([prepareInputs, prepareSamples], tensors, names, { tokens: 9, sequences: 4, samples: 8 });
    expect(out.inputIds).toEqual([15, 0, 0, 22, 23, 24, 25, 0, 0]);
    expect(out.positions).toEqual([5, 0, 0, 2, 3, 4, 5, 0, 0]);
    expect(out.slotMapping).toEqual([9 * 4 + 1, NONE, NONE, 14, 15, 16, 17, NONE, NONE]);
    expect(rowOf(out.sequences, 0, SEQUENCE_WORDS)).toEqual([2, 0, 1, 6, 0, 1, 5, 6]);
    expect(rowOf(out.sequences, 1, SEQUENCE_WORDS)).toEqual([1, 1, 1, 0, 1, 1, 4, 5]); // no credit for position 4
    expect(rowOf(out.sequences, 2, SEQUENCE_WORDS)).toEqual([3, 2, 1, 0, 2, 1, 1, 2]); // at its token limit
    expect(rowOf(out.sequences, 3, SEQUENCE_WORDS)).toEqual([0, 3, 4, 6, 3, 3, 2, 7]);
    expect(rowOf(out.samples, 0, SAMPLE_WORDS)).toEqual([0, 2, 6, NONE]);
    for (const padded of [1, 2, 6, 7]) expect(rowOf(out.samples, padded, SAMPLE_WORDS)).toEqual([0, NONE, 0, NONE]);
    expect(rowOf(out.samples, 3, SAMPLE_WORDS)).toEqual([4, 0, 4, 24]);
    expect(rowOf(out.samples, 4, SAMPLE_WORDS)).toEqual([5, 0, 5, 25]);
    expect(rowOf(out.samples, 5, SAMPLE_WORDS)).toEqual([6, 0, 6, 26]);
    expect(out.batch[BatchHeader.stepCounter]).toBe(42);
  });

  it('clears the records beyond the batch', async () => {
    const tensors = { ...rowTensors({}), batch: batchTensor([]), ...stepTensors(2, 2, 1) };
    const names = ['sequences', 'samples', 'slotMapping'] as const;
    const out = await runOps([prepareInputs, prepareSamples], tensors, names, { tokens: 2, sequences: 2, samples: 1 });
    expect(out.sequences).toEqual(new Array(2 * SEQUENCE_WORDS).fill(0));
    expect(out.samples).toEqual([0, NONE, 0, NONE]);
    expect(out.slotMapping).toEqual([NONE, NONE]);
  });

  it('keeps a prompt without samples live at its token limit', async () => {
    const tensors = {
      ...rowTensors({ 0: { tokens: [1, 2, 3], numComputed: 1, blocks: [1], tokenLimit: 3 } }),
      batch: batchTensor([{ row: 0, queryLen: 2, sampleCount: 0 }]),
      ...stepTensors(2, 1, 1),
    };
    const out = await runOps([prepareInputs], tensors, ['sequences'], { tokens: 2, sequences: 1 });
    expect(out.sequences).toEqual([0, 0, 2, 3, 0, 0, 1, 3]);
  });
});

describe('advanceRows', () => {
  it('moves rows on, appends what was sampled, and tells the ring; a target is not appended', async () => {
    const live = SAMPLE_LIVE | SAMPLE_FINITE;
    const tensors = {
      ...rowTensors({
        2: { tokens: [10, 11], numComputed: 1, blocks: [7] },
        0: { tokens: [20, 21, 22, 23], numComputed: 0, blocks: [3] },
        1: { tokens: [30, 31, 32, 33, 34], numComputed: 4, blocks: [5], blockCredit: 4 },
        3: { tokens: [40, 41, 42], numComputed: 0, blocks: [6] },
      }),
      batch: batchTensor(
        [
          { row: 2, queryLen: 1, sampleCount: 1 },
          { row: 1, queryLen: 1, sampleCount: 1 },
          { row: 0, queryLen: 3, sampleCount: 3 },
          { row: 3, queryLen: 2, sampleCount: 0 },
        ],
        4,
      ),
      ...stepTensors(7, 4, 5),
      sampled: u32([5, 2], [77, live, 1, 1, 21, live, 22, live, 23, live]),
      ring: u32([RING_SLOTS, MAX_ROWS, 2], new Array(RING_SLOTS * MAX_ROWS * 2).fill(5)),
    };
    const names = ['rows', 'tokenIds', 'ring'] as const;
    const ops = [prepareInputs, prepareSamples, advanceRows];
    const out = await runOps(ops, tensors, names, { tokens: 7, sequences: 4, samples: 5 });
    const counts = [0, 1, 2, 3].map(row => rowOf(out.rows, row, ROW_WORDS).slice(0, 2));
    expect(counts).toEqual([
      [4, 3],
      [5, 4],
      [3, 2],
      [3, 2],
    ]);
    expect(rowOf(out.tokenIds, 2, MODEL_LEN).slice(0, 4)).toEqual([10, 11, 77, 0]);
    expect(rowOf(out.tokenIds, 0, MODEL_LEN).slice(0, 5)).toEqual([20, 21, 22, 23, 0]);
    // stepCounter became 5, so slot (5 - 1) % 3 = 1; row 3 has no sample and keeps its pair.
    expect(rowOf(out.ring, 1, MAX_ROWS * 2)).toEqual([23, live, NONE, 0, 77, live, 5, 5]);
    expect(rowOf(out.ring, 0, MAX_ROWS * 2)).toEqual(new Array(8).fill(5));
  });

  it('repeats a decode batch on the device until block credit and token limit end it', async () => {
    const live = SAMPLE_LIVE | SAMPLE_FINITE;
    const tensors = {
      ...rowTensors({
        0: { tokens: [9], numComputed: 0, blocks: [2], blockCredit: 3 },
        1: { tokens: [9], numComputed: 0, blocks: [3, 4], tokenLimit: 3 },
      }),
      batch: batchTensor([
        { row: 0, queryLen: 1, sampleCount: 1 },
        { row: 1, queryLen: 1, sampleCount: 1 },
      ]),
      ...stepTensors(2, 2, 2),
      sampled: u32([2, 2], [50, live, 60, live]),
      ring: u32([8, MAX_ROWS, 2]),
    };
    const maxSizes = { tokens: 2, sequences: 2, decodeSequences: 2, samples: 2 };
    const session = await openSession([prepareInputs, prepareSamples, advanceRows], tensors, maxSizes);
    await session.run({}, 5);
    const [rows, tokenIds, ring] = [
      await session.read('rows'),
      await session.read('tokenIds'),
      await session.read('ring'),
    ];
    expect(rowOf(rows, 0, ROW_WORDS).slice(0, 2)).toEqual([4, 3]); // three positions of credit: three tokens sampled
    expect(rowOf(rows, 1, ROW_WORDS).slice(0, 2)).toEqual([3, 2]); // stops at its limit of three
    expect(rowOf(tokenIds, 0, MODEL_LEN).slice(0, 5)).toEqual([9, 50, 50, 50, 0]);
    const told = [0, 1, 2, 3, 4].map(step => rowOf(ring, step, MAX_ROWS * 2).slice(0, 4));
    expect(told).toEqual([
      [50, live, 60, live],
      [50, live, 60, live],
      [50, live, NONE, 0],
      [NONE, 0, NONE, 0],
      [NONE, 0, NONE, 0],
    ]);
    await session.device.dispose();
  });
});
