import type { StepLogprobs } from '../worker/types.ts';
import type { PositionLogprobs, TokenLogprob } from './outputs.ts';

/** One sample's log-probabilities as a caller sees them: the chosen token, and its `count` most likely rivals in order. */
export function positionLogprobs(step: StepLogprobs, sample: number, count: number): PositionLogprobs {
  const values = sample * (1 + step.topN);
  const ids = sample * (2 + step.topN);
  return {
    tokenId: step.ids[ids]!,
    logprob: step.logprobs[values]!,
    rank: step.ids[ids + 1]!,
    top: topLogprobs(step, values + 1, ids + 2, Math.min(count, step.topN)),
  };
}

/** Equal log-probabilities share a rank. */
function topLogprobs(step: StepLogprobs, values: number, ids: number, count: number): TokenLogprob[] {
  const top: TokenLogprob[] = [];
  let rank = 1;
  for (let i = 0; i < count; i++) {
    const logprob = step.logprobs[values + i]!;
    if (i > 0 && logprob < top[i - 1]!.logprob) rank = i + 1;
    top.push({ tokenId: step.ids[ids + i]!, logprob, rank });
  }
  return top;
}
