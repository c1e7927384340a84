import { Row } from '../../contract/contract.ts';
import { indexOfLargest, writeSampled } from './lib/choose.ts';
import { gumbelNoise } from './lib/gumbel.ts';
import type { Kernel } from './lib/kernel.ts';
import { SampleReader } from './lib/samples.ts';

/** Gumbel-max over the surviving logits: the argmax of logit / temperature + noise is a draw from their softmax. */
export const sample: Kernel<'sample'> = (_, { logits, thresholds, samples, rows, sampled }) => {
  const vocabulary = logits.width;
  const reader = new SampleReader(samples, rows);
  const scores = new Float64Array(vocabulary);

  function draw(row: Float32Array, threshold: number): number {
    const temperature = reader.floatState(Row.temperature);
    if (temperature === 0) return indexOfLargest(row, 0, vocabulary);
    gumbelNoise(reader.state(Row.seedLow), reader.state(Row.seedHigh), reader.position, vocabulary, scores);
    for (let id = 0; id < vocabulary; id++) {
      const logit = row[id]!;
      scores[id] = logit >= threshold ? logit / temperature + scores[id]! : -Infinity;
    }
    return indexOfLargest(scores, 0, vocabulary);
  }

  return sizes => {
    const count = logits.rows(sizes);
    const [values, limits] = [logits.values(), thresholds.values()];
    for (let s = 0; s < count; s++) {
      reader.select(s);
      const row = values.subarray(s * vocabulary, (s + 1) * vocabulary);
      writeSampled(sampled, s, reader, row, () => draw(row, limits[s]!));
    }
  };
};
