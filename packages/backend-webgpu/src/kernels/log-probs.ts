import { dimCode, dispatch, fixed, type Kernel, sizeOf, vocabularyConsts } from '../kernel.ts';

export const logProbs: Kernel<'logProbs'> = (op, context) => {
  const logits = context.tensor(op.logits);
  return [
    dispatch('log_probs', {
      fragments: {},
      consts: vocabularyConsts(context.tuning),
      params: { samples: dimCode(logits.shape[0]!), vocabulary: fixed(logits, 1), top_n: op.topN },
      bindings: {
        logits,
        samples: context.tensor(op.samples),
        sampled: context.tensor(op.sampled),
        logprobs: context.tensor(op.logprobs),
        logprob_ids: context.tensor(op.logprobIds),
      },
      workgroups: sizes => sizeOf(logits.shape[0]!, sizes),
    }),
  ];
};
