import { MASKED_LOGIT, Row } from '../../contract/contract.ts';
import type { Kernel } from './lib/kernel.ts';
import { wordToFloat } from './lib/row-words.ts';
import { SampleReader } from './lib/samples.ts';

/** Adds the row's biases, and masks its stop ids while it has not the tokens that it must have. */
export const biasLogits: Kernel<'biasLogits'> = (_, { logits, samples, rows, biases, out }) => {
  const vocabulary = logits.width;
  const row = new Float64Array(vocabulary);
  const sample = new SampleReader(samples, rows);

  function bias(): void {
    const start = sample.row * biases.width;
    const [numStopIds, numBiases] = [sample.state(Row.numStopIds), sample.state(Row.numBiases)];
    if (numStopIds + 2 * numBiases > biases.width) {
      throw new RangeError(
        `row ${sample.row} has ${numStopIds} stop ids and ${numBiases} biases, room for ${biases.width} words`,
      );
    }
    for (let i = 0; i < numBiases; i++) {
      const at = start + numStopIds + 2 * i;
      const id = biases.data[at]!;
      if (id < vocabulary) row[id]! += wordToFloat(biases.data[at + 1]!);
    }
    if (sample.position >= sample.state(Row.minTokensUntil)) return;
    for (let i = 0; i < numStopIds; i++) {
      const id = biases.data[start + i]!;
      if (id < vocabulary) row[id] = MASKED_LOGIT;
    }
  }

  return sizes => {
    const count = logits.rows(sizes);
    for (let s = 0; s < count; s++) {
      sample.select(s);
      logits.load(s * vocabulary, vocabulary, row);
      if (sample.open) bias();
      out.store(s * vocabulary, vocabulary, row);
    }
  };
};
