import { dimCode, dispatch, elementGrid, fixed, type Kernel } from '../kernel.ts';

export const rope: Kernel<'rope'> = (op, context) => {
  const qkv = context.tensor(op.qkv);
  const pairs = op.rotaryDim / 2;
  const heads = op.heads + op.kvHeads;
  return [
    dispatch('rope', {
      fragments: {},
      params: {
        tokens: dimCode(qkv.shape[0]!),
        rotated_heads: heads,
        head_dim: op.headDim,
        pairs,
        stride: fixed(qkv, 1),
        interleaved: Number(op.interleaved),
      },
      bindings: { qkv, positions: context.tensor(op.positions), table: context.tensor(op.table) },
      workgroups: elementGrid(qkv.shape[0]!, heads * pairs),
    }),
  ];
};
