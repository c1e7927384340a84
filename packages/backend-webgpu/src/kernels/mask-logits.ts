import { dimCode, dispatch, fixed, type Kernel, sizeOf, vocabularyConsts } from '../kernel.ts';

export const maskLogits: Kernel<'maskLogits'> = (op, context) => {
  const out = context.tensor(op.out);
  const masks = context.tensor(op.masks);
  const inPlace = op.out === op.logits;
  return [
    dispatch('mask_logits', {
      fragments: {},
      consts: vocabularyConsts(context.tuning),
      params: {
        samples: dimCode(out.shape[0]!),
        vocabulary: fixed(out, 1),
        words: fixed(masks, 1),
        in_place: Number(inPlace),
      },
      bindings: {
        logits: inPlace ? 'unused' : context.tensor(op.logits),
        samples: context.tensor(op.samples),
        rows: context.tensor(op.rows),
        masks,
        out,
      },
      workgroups: sizes => sizeOf(out.shape[0]!, sizes),
    }),
  ];
};
