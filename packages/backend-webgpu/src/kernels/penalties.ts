import { dimCode, dispatch, elementGrid, fixed, type Kernel, sizeOf } from '../kernel.ts';

/** Counts the tokens of the rows that need it, then applies the counts and leaves them zero. */
export const penalties: Kernel<'penalties'> = (op, context) => {
  const out = context.tensor(op.out);
  const samples = context.tensor(op.samples);
  const rows = context.tensor(op.rows);
  const tokenIds = context.tensor(op.tokenIds);
  const count = out.shape[0]!;
  const vocabulary = fixed(out, 1);
  const inPlace = op.out === op.logits;
  const counts = { scratch: 'clean' as const, bytes: sizeOf(count, context.maxSizes) * vocabulary * 4 };
  const shared = { samples: dimCode(count), vocabulary };
  return [
    dispatch('penalties/count', {
      fragments: {},
      params: { ...shared, max_tokens: fixed(tokenIds, 1) },
      bindings: { samples, rows, token_ids: tokenIds, counts },
      workgroups: sizes => sizeOf(count, sizes),
    }),
    dispatch('penalties/apply', {
      fragments: {},
      params: { ...shared, in_place: Number(inPlace) },
      bindings: { logits: inPlace ? 'unused' : context.tensor(op.logits), samples, rows, counts, out },
      workgroups: elementGrid(count, vocabulary),
    }),
  ];
};
