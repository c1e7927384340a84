import { dimCode, dispatch, fixed, type Kernel, sizeOf, vocabularyConsts } from '../kernel.ts';

export const sample: Kernel<'sample'> = (op, context) => {
  const logits = context.tensor(op.logits);
  return [
    dispatch('sample', {
      fragments: {},
      consts: vocabularyConsts(context.tuning),
      params: { samples: dimCode(logits.shape[0]!), vocabulary: fixed(logits, 1) },
      bindings: {
        logits,
        thresholds: context.tensor(op.thresholds),
        samples: context.tensor(op.samples),
        rows: context.tensor(op.rows),
        sampled: context.tensor(op.sampled),
      },
      workgroups: sizes => sizeOf(logits.shape[0]!, sizes),
    }),
  ];
};
