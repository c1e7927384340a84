import { NONE } from '../../contract/contract.ts';
import type { Kernel } from './lib/kernel.ts';
import { SampleReader } from './lib/samples.ts';

/** log softmax of the chosen token, its rank, and the topN largest with their ids. */
export const logProbs: Kernel<'logProbs'> = (op, { logits, samples, sampled, logprobs, logprobIds }) => {
  const vocabulary = logits.width;
  const reader = new SampleReader(samples);
  const found = new Float64Array(1 + op.topN);

  function describe(row: Float32Array, chosen: number, ids: Uint32Array): void {
    const normaliser = logSumExp(row);
    ids[0] = chosen;
    ids[1] = 1;
    for (const logit of row) if (logit > row[chosen]!) ids[1]!++;
    largest(row, ids.subarray(2));
    found[0] = row[chosen]! - normaliser;
    for (let i = 0; i < op.topN; i++) found[1 + i] = row[ids[2 + i]!]! - normaliser;
  }

  return sizes => {
    const count = logits.rows(sizes);
    const values = logits.values();
    for (let s = 0; s < count; s++) {
      reader.select(s);
      const ids = logprobIds.data.subarray(s * logprobIds.width, (s + 1) * logprobIds.width);
      found.fill(0);
      ids.fill(0);
      const row = values.subarray(s * vocabulary, (s + 1) * vocabulary);
      if (reader.row !== NONE) describe(row, sampled.data[2 * s]!, ids);
      logprobs.store(s * logprobs.width, logprobs.width, found);
    }
  };
};

function logSumExp(row: Float32Array): number {
  let max = -Infinity;
  for (const logit of row) max = Math.max(max, logit);
  let sum = 0;
  for (const logit of row) sum += Math.exp(logit - max);
  return max + Math.log(sum);
}

/** Fills `ids` with the indices of the largest, in falling order, the lowest index first among equals. */
function largest(row: Float32Array, ids: Uint32Array): void {
  let kept = 0;
  for (let id = 0; id < row.length; id++) {
    if (kept === ids.length && !(row[id]! > row[ids[kept - 1]!]!)) continue;
    let at = kept < ids.length ? kept++ : kept - 1;
    for (; at > 0 && row[id]! > row[ids[at - 1]!]!; at--) ids[at] = ids[at - 1]!;
    ids[at] = id;
  }
}
