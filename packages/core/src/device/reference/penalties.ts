import { MASKED_LOGIT, Row } from '../../contract/contract.ts';
import type { Kernel } from './lib/kernel.ts';
import { SampleReader } from './lib/samples.ts';

/** Repetition penalty (Keskar et al. 2019), then OpenAI's frequency and presence penalties, on samples without a target. */
export const penalties: Kernel<'penalties'> = (_, { logits, samples, rows, tokenIds, out }) => {
  const vocabulary = logits.width;
  const row = new Float64Array(vocabulary);
  const sample = new SampleReader(samples, rows);
  const inOutput = new Uint32Array(vocabulary);
  const inContext = new Uint8Array(vocabulary);

  function countTokens(ids: Uint32Array, promptTokens: number): void {
    inOutput.fill(0);
    inContext.fill(0);
    ids.forEach((id, position) => {
      if (id >= vocabulary) return;
      inContext[id] = 1;
      if (position >= promptTokens) inOutput[id]!++;
    });
  }

  function penalise(): void {
    const repetition = sample.floatState(Row.repetitionPenalty);
    const frequency = sample.floatState(Row.frequencyPenalty);
    const presence = sample.floatState(Row.presencePenalty);
    const start = sample.row * tokenIds.width;
    countTokens(tokenIds.data.subarray(start, start + sample.position), sample.state(Row.promptTokens));
    for (let id = 0; id < vocabulary; id++) {
      let logit = row[id]!;
      if (logit <= MASKED_LOGIT) continue;
      if (inContext[id] === 1) logit = logit > 0 ? logit / repetition : logit * repetition;
      logit -= frequency * inOutput[id]!;
      if (inOutput[id]! > 0) logit -= presence;
      row[id] = logit;
    }
  }

  return sizes => {
    const count = logits.rows(sizes);
    for (let s = 0; s < count; s++) {
      sample.select(s);
      logits.load(s * vocabulary, vocabulary, row);
      if (sample.open) penalise();
      out.store(s * vocabulary, vocabulary, row);
    }
  };
};
