import { NONE, SAMPLE_WORDS, Sample, SEQUENCE_WORDS, Sequence } from '../../contract/contract.ts';
import type { Kernel } from './lib/kernel.ts';

/** One record per position whose logits are computed. */
export const prepareSamples: Kernel<'prepareSamples'> = (_, { sequences, tokenIds, samples }) => {
  function prepareSequence(sequence: Uint32Array): void {
    const row = sequence[Sequence.row]!;
    const sampleCount = sequence[Sequence.sampleCount]!;
    const firstQuery = sequence[Sequence.queryLen]! - sampleCount;
    for (let i = 0; i < sampleCount; i++) {
      const position = sequence[Sequence.firstPosition]! + firstQuery + i + 1;
      const at = (sequence[Sequence.sampleStart]! + i) * SAMPLE_WORDS;
      const known = position < sequence[Sequence.numTokens]!;
      samples.data[at + Sample.token] = sequence[Sequence.queryStart]! + firstQuery + i;
      samples.data[at + Sample.row] = row;
      samples.data[at + Sample.position] = position;
      samples.data[at + Sample.target] = known ? tokenIds.data[row * tokenIds.width + position]! : NONE;
    }
  }

  return sizes => {
    const count = samples.rows(sizes);
    for (let index = 0; index < count; index++) samples.data.set([0, NONE, 0, NONE], index * SAMPLE_WORDS);
    for (let index = 0; index < sequences.rows(sizes); index++) {
      const sequence = sequences.data.subarray(index * SEQUENCE_WORDS, (index + 1) * SEQUENCE_WORDS);
      if (sequence[Sequence.contextLen] !== 0) prepareSequence(sequence);
    }
  };
};
