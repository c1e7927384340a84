import { dimCode, dispatch, fixed, type Kernel, sizeOf, vocabularyConsts } from '../kernel.ts';

export const argmax: Kernel<'argmax'> = (op, context) => {
  const logits = context.tensor(op.logits);
  return [
    dispatch('argmax', {
      fragments: {},
      consts: vocabularyConsts(context.tuning),
      params: { samples: dimCode(logits.shape[0]!), vocabulary: fixed(logits, 1) },
      bindings: { logits, samples: context.tensor(op.samples), sampled: context.tensor(op.sampled) },
      workgroups: sizes => sizeOf(logits.shape[0]!, sizes),
    }),
  ];
};
