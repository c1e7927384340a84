import { indexOfLargest, writeSampled } from './lib/choose.ts';
import type { Kernel } from './lib/kernel.ts';
import { SampleReader } from './lib/samples.ts';

/** The token id with the largest logit, the lowest among equals. */
export const argmax: Kernel<'argmax'> = (_, { logits, samples, sampled }) => {
  const vocabulary = logits.width;
  const reader = new SampleReader(samples);
  return sizes => {
    const count = logits.rows(sizes);
    const values = logits.values();
    for (let s = 0; s < count; s++) {
      reader.select(s);
      const row = values.subarray(s * vocabulary, (s + 1) * vocabulary);
      writeSampled(sampled, s, reader, row, () => indexOfLargest(row, 0, vocabulary));
    }
  };
};
