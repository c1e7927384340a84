import { dimCode, dispatch, fixed, type Kernel, sizeOf, vocabularyConsts } from '../kernel.ts';

export const biasLogits: Kernel<'biasLogits'> = (op, context) => {
  const out = context.tensor(op.out);
  const biases = context.tensor(op.biases);
  const inPlace = op.out === op.logits;
  return [
    dispatch('bias_logits', {
      fragments: {},
      consts: vocabularyConsts(context.tuning),
      params: {
        samples: dimCode(out.shape[0]!),
        vocabulary: fixed(out, 1),
        words: fixed(biases, 1),
        in_place: Number(inPlace),
      },
      bindings: {
        logits: inPlace ? 'unused' : context.tensor(op.logits),
        samples: context.tensor(op.samples),
        rows: context.tensor(op.rows),
        biases,
        out,
      },
      workgroups: sizes => sizeOf(out.shape[0]!, sizes),
    }),
  ];
};
