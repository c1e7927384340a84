import { MASKED_LOGIT, Row } from '../../contract/contract.ts';
import type { Kernel } from './lib/kernel.ts';
import { SampleReader } from './lib/samples.ts';

/** Masks the ids whose bit is not set in the mask of the sample's row, where the row has one. */
export const maskLogits: Kernel<'maskLogits'> = (_, { logits, samples, rows, masks, out }) => {
  const vocabulary = logits.width;
  const row = new Float64Array(vocabulary);
  const sample = new SampleReader(samples, rows);

  function mask(): void {
    const start = sample.row * masks.width;
    for (let id = 0; id < vocabulary; id++) {
      if (((masks.data[start + (id >>> 5)]! >>> (id & 31)) & 1) === 0) row[id] = MASKED_LOGIT;
    }
  }

  return sizes => {
    const count = logits.rows(sizes);
    for (let s = 0; s < count; s++) {
      sample.select(s);
      logits.load(s * vocabulary, vocabulary, row);
      if (sample.open && sample.state(Row.masked) !== 0) mask();
      out.store(s * vocabulary, vocabulary, row);
    }
  };
};
