/** Steps of a running engine, as the host would lay them out: rows, block tables and a batch. */
import {
  BATCH_WORDS,
  Batch,
  BatchHeader,
  NONE,
  ROW_WORDS,
  Row,
  SAMPLE_WORDS,
  Sample,
  SEQUENCE_WORDS,
  Sequence,
} from '@quire/core/contract';
import type { Random } from './random.ts';

/** One sequence of a step. */
export interface StepSequence {
  row: number;
  queryLen: number;
  numComputed: number;
  numTokens: number;
  sampleCount: number;
  tokenLimit: number;
  blockCredit: number;
}

export interface StepGeometry {
  maxRows: number;
  maxModelLen: number;
  blockSize: number;
  maxBlocks: number;
  /** Blocks of the cache; block 0 is the null block. */
  numBlocks: number;
  vocab: number;
}

export interface Step {
  sequences: readonly StepSequence[];
  numTokens: number;
  numSamples: number;
  rows: Uint32Array;
  tokenIds: Uint32Array;
  blockTables: Uint32Array;
  batch: Uint32Array;
}

const f32 = new Float32Array(1);
const f32Word = new Uint32Array(f32.buffer);

/** The bits of an f32. */
export function bitsOf(value: number): number {
  f32[0] = value;
  return f32Word[0]!;
}

/** Records of `words` words each, one after another. */
export function packRecords(count: number, words: number, record: (i: number) => ArrayLike<number>): Uint32Array {
  const packed = new Uint32Array(count * words);
  for (let i = 0; i < count; i++) packed.set(record(i), i * words);
  return packed;
}

export interface SequenceMix {
  decode: number;
  prefill: number;
  maxQuery: number;
  /** Sequences that have run out of blocks, tokens or limit. */
  spent?: number;
  /** Prefill sequences sample at each of their query tokens, as for prompt log-probabilities. */
  promptSamples?: boolean;
}

/** Decode sequences first, then prefill chunks, on distinct rows; some are spent. */
export function mixSequences(random: Random, geometry: StepGeometry, mix: SequenceMix): StepSequence[] {
  const rows = random.distinct(mix.decode + mix.prefill, 0, geometry.maxRows);
  const sequences = rows.map((row, i) =>
    i < mix.decode ? decodeSequence(random, geometry, row) : prefillSequence(random, geometry, row, mix),
  );
  for (const i of random.distinct(mix.spent ?? 0, 0, sequences.length)) spend(random, sequences[i]!);
  return sequences;
}

function decodeSequence(random: Random, { maxModelLen }: StepGeometry, row: number): StepSequence {
  const numTokens = random.integer(1, maxModelLen);
  const credit = random.pick([numTokens, maxModelLen]);
  return {
    row,
    queryLen: 1,
    numComputed: numTokens - 1,
    numTokens,
    sampleCount: 1,
    tokenLimit: numTokens + 1,
    blockCredit: credit,
  };
}

function prefillSequence(random: Random, { maxModelLen }: StepGeometry, row: number, mix: SequenceMix): StepSequence {
  const queryLen = random.integer(1, mix.maxQuery + 1);
  const numComputed = random.integer(0, maxModelLen - queryLen);
  const end = numComputed + queryLen;
  const numTokens = random.pick([end, random.integer(end, maxModelLen)]);
  const sampleCount = mix.promptSamples ? random.integer(1, queryLen + 1) : Number(numTokens === end);
  return { row, queryLen, numComputed, numTokens, sampleCount, tokenLimit: maxModelLen, blockCredit: maxModelLen };
}

/** Takes away what the sequence needs: block credit, its known tokens, or room under its limit. */
function spend(random: Random, sequence: StepSequence): void {
  const end = sequence.numComputed + sequence.queryLen;
  const limited = sequence.sampleCount > 0 && end === sequence.numTokens;
  const reason = random.pick(limited ? ['credit', 'tokens', 'limit'] : ['credit', 'tokens']);
  if (reason === 'credit') sequence.blockCredit = end - 1;
  if (reason === 'tokens') sequence.numTokens = end - 1;
  if (reason === 'limit') sequence.tokenLimit = sequence.numTokens;
}

/** Whether a sequence runs in the step. */
export function isLive(sequence: StepSequence): boolean {
  const end = sequence.numComputed + sequence.queryLen;
  if (end > sequence.numTokens || end > sequence.blockCredit) return false;
  return !(sequence.sampleCount > 0 && end === sequence.numTokens && sequence.numTokens >= sequence.tokenLimit);
}

/** Lays the sequences out. Unused rows hold random words, so that reading a wrong row shows. */
export function layOut(
  random: Random,
  geometry: StepGeometry,
  sequences: readonly StepSequence[],
  stepCounter = 1,
): Step {
  const { maxRows, maxModelLen, maxBlocks, vocab } = geometry;
  const rows = Uint32Array.from({ length: maxRows * ROW_WORDS }, () => random.integer(0, 1 << 20));
  const tokenIds = Uint32Array.from({ length: maxRows * maxModelLen }, () => random.integer(0, vocab));
  const blockTables = Uint32Array.from({ length: maxRows * maxBlocks }, () => random.integer(1, geometry.numBlocks));
  const batch = new Uint32Array((1 + maxRows) * BATCH_WORDS);
  let [numTokens, numSamples] = [0, 0];
  sequences.forEach((sequence, i) => {
    const row = rows.subarray(sequence.row * ROW_WORDS);
    row[Row.numTokens] = sequence.numTokens;
    row[Row.numComputed] = sequence.numComputed;
    row[Row.tokenLimit] = sequence.tokenLimit;
    row[Row.blockCredit] = sequence.blockCredit;
    const record = batch.subarray((1 + i) * BATCH_WORDS);
    record[Batch.row] = sequence.row;
    record[Batch.queryStart] = numTokens;
    record[Batch.queryLen] = sequence.queryLen;
    record[Batch.sampleStart] = numSamples;
    record[Batch.sampleCount] = sequence.sampleCount;
    numTokens += sequence.queryLen;
    numSamples += sequence.sampleCount;
  });
  batch[BatchHeader.numSequences] = sequences.length;
  batch[BatchHeader.stepCounter] = stepCounter;
  batch[BatchHeader.numTokens] = numTokens;
  batch[BatchHeader.numSamples] = numSamples;
  return { sequences, numTokens, numSamples, rows, tokenIds, blockTables, batch };
}

/** The records that prepareInputs makes of a step, padded to `count`. */
export function sequenceRecords(step: Step, count: number): Uint32Array {
  const records = new Uint32Array(count * SEQUENCE_WORDS);
  step.sequences.forEach((sequence, i) => {
    const given = step.batch.subarray((1 + i) * BATCH_WORDS);
    const live = isLive(sequence);
    const record = records.subarray(i * SEQUENCE_WORDS);
    record[Sequence.row] = sequence.row;
    record[Sequence.queryStart] = given[Batch.queryStart]!;
    record[Sequence.queryLen] = sequence.queryLen;
    record[Sequence.contextLen] = live ? sequence.numComputed + sequence.queryLen : 0;
    record[Sequence.sampleStart] = given[Batch.sampleStart]!;
    record[Sequence.sampleCount] = sequence.sampleCount;
    record[Sequence.firstPosition] = sequence.numComputed;
    record[Sequence.numTokens] = sequence.numTokens;
  });
  return records;
}

/** The records that prepareSamples makes of a step, padded to `count`. */
export function sampleRecords(step: Step, geometry: StepGeometry, count: number): Uint32Array {
  const records = new Uint32Array(count * SAMPLE_WORDS);
  for (let i = 0; i < count; i++) records.set([0, NONE, 0, NONE], i * SAMPLE_WORDS);
  step.sequences.forEach((sequence, i) => {
    const given = step.batch.subarray((1 + i) * BATCH_WORDS);
    if (!isLive(sequence)) return;
    for (let j = 0; j < sequence.sampleCount; j++) {
      const query = sequence.queryLen - sequence.sampleCount + j;
      const position = sequence.numComputed + query + 1;
      const known = position < sequence.numTokens;
      const record = records.subarray((given[Batch.sampleStart]! + j) * SAMPLE_WORDS);
      record[Sample.token] = given[Batch.queryStart]! + query;
      record[Sample.row] = sequence.row;
      record[Sample.position] = position;
      record[Sample.target] = known ? step.tokenIds[sequence.row * geometry.maxModelLen + position]! : NONE;
    }
  });
  return records;
}
