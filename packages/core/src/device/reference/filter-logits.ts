import { MASKED_LOGIT, NO_THRESHOLD, Row } from '../../contract/contract.ts';
import type { Kernel } from './lib/kernel.ts';
import { SampleReader } from './lib/samples.ts';

/** Mass of a row in top-p: integers, so that a sum does not depend on the order. */
const MASS_UNIT = 2 ** 31;
const MASKED = Math.fround(MASKED_LOGIT);

/**
 * The smallest logit of each row that survives min-p (Nguyen et al. 2024), then top-k, then top-p (Holtzman et al. 2019).
 *
 * With z = (logit - max) / temperature: min-p keeps exp(z) >= minP, top-k keeps logits >= the k-th largest, so ties stay.
 * Masked logits survive only when all are masked. Over these survivors, Z = sum of exp(z), m = floor(exp(z) / Z 2^31); the
 * threshold is the largest logit t for which the m of logits >= t sum to at least topP times the sum of all m.
 * NO_THRESHOLD where nothing is to be filtered: greedy rows, rows without an active filter, samples with a target or without
 * a row, rows with NaN or +infinity.
 */
export const filterLogits: Kernel<'filterLogits'> = (_, { logits, samples, rows, thresholds }) => {
  const vocabulary = logits.width;
  const sample = new SampleReader(samples, rows);
  const sorted = new Float32Array(vocabulary);
  const result = new Float64Array(1);

  function threshold(): number {
    const temperature = sample.floatState(Row.temperature);
    const [topK, topP, minP] = [sample.state(Row.topK), sample.floatState(Row.topP), sample.floatState(Row.minP)];
    const limitsK = topK > 0 && topK < vocabulary;
    if (temperature === 0 || !(limitsK || topP < 1 || minP > 0)) return NO_THRESHOLD;
    sorted.sort().reverse();
    const max = sorted[0]!;
    if (!(max > MASKED)) return max;
    const weight = (logit: number) => Math.exp((logit - max) / temperature);
    const smallest = limitsK ? sorted[topK - 1]! : -Infinity;
    let survivors = 1;
    while (survivors < vocabulary) {
      const logit = sorted[survivors]!;
      if (logit < smallest || logit <= MASKED || weight(logit) < minP) break;
      survivors++;
    }
    return topP < 1 ? nucleus(sorted.subarray(0, survivors), weight, topP) : sorted[survivors - 1]!;
  }

  return sizes => {
    const count = logits.rows(sizes);
    const values = logits.values();
    for (let s = 0; s < count; s++) {
      sample.select(s);
      sorted.set(values.subarray(s * vocabulary, (s + 1) * vocabulary));
      const filtered = sample.open && !sorted.some(logit => Number.isNaN(logit) || logit === Infinity);
      result[0] = filtered ? threshold() : NO_THRESHOLD;
      thresholds.store(s, 1, result);
    }
  };
};

/** The top-p threshold over survivors in falling order; logits that are equal come in together. */
function nucleus(survivors: Float32Array, weight: (logit: number) => number, topP: number): number {
  let sum = 0;
  for (const logit of survivors) sum += weight(logit);
  const masses = Float64Array.from(survivors, logit => Math.floor((weight(logit) / sum) * MASS_UNIT));
  let total = 0;
  for (const mass of masses) total += mass;
  let reached = 0;
  for (let i = 0; i < survivors.length; i++) {
    reached += masses[i]!;
    if (reached >= topP * total) return survivors[i]!;
  }
  return survivors.at(-1)!;
}
