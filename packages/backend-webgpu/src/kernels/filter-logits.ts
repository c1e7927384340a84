import { dimCode, dispatch, fixed, type Kernel, sizeOf, vocabularyConsts } from '../kernel.ts';

export const filterLogits: Kernel<'filterLogits'> = (op, context) => {
  const logits = context.tensor(op.logits);
  return [
    dispatch('filter_logits', {
      fragments: {},
      consts: vocabularyConsts(context.tuning),
      params: { samples: dimCode(logits.shape[0]!), vocabulary: fixed(logits, 1) },
      bindings: {
        logits,
        samples: context.tensor(op.samples),
        rows: context.tensor(op.rows),
        thresholds: context.tensor(op.thresholds),
      },
      workgroups: sizes => sizeOf(logits.shape[0]!, sizes),
    }),
  ];
};
