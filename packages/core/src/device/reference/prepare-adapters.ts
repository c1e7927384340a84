import { NONE, ROW_WORDS, Row, SEQUENCE_WORDS, Sequence } from '../../contract/contract.ts';
import type { Kernel } from './lib/kernel.ts';

/** adapters[t] = the adapter of the row of token t. */
export const prepareAdapters: Kernel<'prepareAdapters'> =
  (_, { sequences, rows, adapters }) =>
  sizes => {
    adapters.data.fill(NONE, 0, adapters.rows(sizes));
    for (let index = 0; index < sequences.rows(sizes); index++) {
      const sequence = sequences.data.subarray(index * SEQUENCE_WORDS, (index + 1) * SEQUENCE_WORDS);
      if (sequence[Sequence.contextLen] === 0) continue;
      const start = sequence[Sequence.queryStart]!;
      const adapter = rows.data[sequence[Sequence.row]! * ROW_WORDS + Row.adapter]!;
      adapters.data.fill(adapter, start, start + sequence[Sequence.queryLen]!);
    }
  };
