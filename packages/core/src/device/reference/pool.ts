import { SEQUENCE_WORDS, Sequence } from '../../contract/contract.ts';
import type { Kernel } from './lib/kernel.ts';

/** out[row] = x of the last token, or the sum of x over all tokens so far, of each live sequence */
export const pool: Kernel<'pool'> = (op, { x, sequences, out }) => {
  const { width } = out;
  const [total, row] = [new Float64Array(width), new Float64Array(width)];
  return sizes => {
    const count = sequences.rows(sizes);
    for (let i = 0; i < count; i++) {
      const record = sequences.data.subarray(i * SEQUENCE_WORDS, (i + 1) * SEQUENCE_WORDS);
      if (record[Sequence.contextLen] === 0) continue;
      const target = record[Sequence.row]! * width;
      const end = record[Sequence.queryStart]! + record[Sequence.queryLen]!;
      total.fill(0);
      if (op.sum && record[Sequence.firstPosition]! > 0) out.load(target, width, total);
      for (let token = op.sum ? record[Sequence.queryStart]! : end - 1; token < end; token++) {
        x.load(token * width, width, row);
        for (let c = 0; c < width; c++) total[c]! += row[c]!;
      }
      out.store(target, width, total);
    }
  };
};
