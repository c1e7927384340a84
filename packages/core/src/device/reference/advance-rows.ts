import {
  BatchHeader,
  NONE,
  ROW_WORDS,
  Row,
  SAMPLE_WORDS,
  Sample,
  SEQUENCE_WORDS,
  Sequence,
} from '../../contract/contract.ts';
import type { Kernel } from './lib/kernel.ts';

/** After sampling: the rows move on by what was computed and sampled, and the ring tells the host. */
export const advanceRows: Kernel<'advanceRows'> = (_, tensors) => {
  const { batch, sequences, samples, sampled, rows, tokenIds, ring } = tensors;
  const ringSlots = ring.data.length / ring.width;

  function tell(row: number, id: number, flags: number): void {
    const step = (batch.data[BatchHeader.stepCounter]! - 1) >>> 0;
    const at = (step % ringSlots) * ring.width + row * 2;
    ring.data[at] = id;
    ring.data[at + 1] = flags;
  }

  function appendToken(row: number, id: number): void {
    const numTokens = rows.data[row * ROW_WORDS + Row.numTokens]!;
    if (numTokens >= tokenIds.width) throw new RangeError(`row ${row} holds ${numTokens} tokens, no room for another`);
    tokenIds.data[row * tokenIds.width + numTokens] = id;
    rows.data[row * ROW_WORDS + Row.numTokens] = numTokens + 1;
  }

  function advance(sequence: Uint32Array): void {
    const row = sequence[Sequence.row]!;
    const sampleCount = sequence[Sequence.sampleCount]!;
    const live = sequence[Sequence.contextLen] !== 0;
    if (live) rows.data[row * ROW_WORDS + Row.numComputed]! += sequence[Sequence.queryLen]!;
    if (sampleCount === 0) return;
    if (!live) {
      tell(row, NONE, 0);
      return;
    }
    const last = sequence[Sequence.sampleStart]! + sampleCount - 1;
    const id = sampled.data[last * 2]!;
    if (samples.data[last * SAMPLE_WORDS + Sample.target] === NONE) appendToken(row, id);
    tell(row, id, sampled.data[last * 2 + 1]!);
  }

  return sizes => {
    const count = sequences.rows(sizes);
    for (let index = 0; index < count; index++) {
      advance(sequences.data.subarray(index * SEQUENCE_WORDS, (index + 1) * SEQUENCE_WORDS));
    }
  };
};
