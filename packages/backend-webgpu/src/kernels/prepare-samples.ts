import { dimCode, dispatch, fixed, type Kernel, sizeOf } from '../kernel.ts';

export const prepareSamples: Kernel<'prepareSamples'> = (op, context) => {
  const sequences = context.tensor(op.sequences);
  const samples = context.tensor(op.samples);
  const tokenIds = context.tensor(op.tokenIds);
  return [
    dispatch('prepare_samples', {
      fragments: {},
      params: {
        sequences: dimCode(sequences.shape[0]!),
        samples: dimCode(samples.shape[0]!),
        max_tokens: fixed(tokenIds, 1),
      },
      bindings: { batch: context.tensor(op.batch), sequences, token_ids: tokenIds, samples },
      workgroups: sizes => Math.max(1, sizeOf(sequences.shape[0]!, sizes)),
    }),
  ];
};
