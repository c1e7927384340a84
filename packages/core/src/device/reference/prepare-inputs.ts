import {
  BATCH_WORDS,
  Batch,
  BatchHeader,
  NONE,
  ROW_WORDS,
  Row,
  SEQUENCE_WORDS,
  Sequence,
} from '../../contract/contract.ts';
import type { Kernel } from './lib/kernel.ts';

/** Ids, positions and cache slots of the step's tokens, and a record per sequence, from the batch and the row state. */
export const prepareInputs: Kernel<'prepareInputs'> = (op, tensors) => {
  const { batch, rows, tokenIds, blockTables, inputIds, positions, slotMapping, sequences } = tensors;

  function prepareSequence(index: number): void {
    const from = (1 + index) * BATCH_WORDS;
    const [row, queryStart, queryLen] = [
      batch.data[from + Batch.row]!,
      batch.data[from + Batch.queryStart]!,
      batch.data[from + Batch.queryLen]!,
    ];
    const sampleCount = batch.data[from + Batch.sampleCount]!;
    const state = row * ROW_WORDS;
    const numTokens = rows.data[state + Row.numTokens]!;
    const numComputed = rows.data[state + Row.numComputed]!;
    const contextLen = numComputed + queryLen;
    const full = sampleCount > 0 && contextLen === numTokens && numTokens >= rows.data[state + Row.tokenLimit]!;
    const live = contextLen <= Math.min(numTokens, rows.data[state + Row.blockCredit]!) && !full;

    const record = sequences.data.subarray(index * SEQUENCE_WORDS, (index + 1) * SEQUENCE_WORDS);
    record[Sequence.row] = row;
    record[Sequence.queryStart] = queryStart;
    record[Sequence.queryLen] = queryLen;
    record[Sequence.contextLen] = live ? contextLen : 0;
    record[Sequence.sampleStart] = batch.data[from + Batch.sampleStart]!;
    record[Sequence.sampleCount] = sampleCount;
    record[Sequence.firstPosition] = numComputed;
    record[Sequence.numTokens] = numTokens;
    if (live) prepareTokens(row, queryStart, queryLen, numComputed);
  }

  function prepareTokens(row: number, queryStart: number, queryLen: number, numComputed: number): void {
    for (let i = 0; i < queryLen; i++) {
      const position = numComputed + i;
      const block = blockTables.data[row * blockTables.width + Math.floor(position / op.blockSize)]!;
      inputIds.data[queryStart + i] = tokenIds.data[row * tokenIds.width + position]!;
      positions.data[queryStart + i] = position;
      slotMapping.data[queryStart + i] = block * op.blockSize + (position % op.blockSize);
    }
  }

  return sizes => {
    const tokens = inputIds.rows(sizes);
    const records = sequences.rows(sizes);
    inputIds.data.fill(0, 0, tokens);
    positions.data.fill(0, 0, tokens);
    slotMapping.data.fill(NONE, 0, tokens);
    sequences.data.fill(0, 0, records * SEQUENCE_WORDS);
    const numSequences = Math.min(batch.data[BatchHeader.numSequences]!, records);
    for (let index = 0; index < numSequences; index++) prepareSequence(index);
    batch.data[BatchHeader.stepCounter]!++;
  };
};
