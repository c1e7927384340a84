import { blockWords, dimCode, dispatch, elementGrid, type Kernel } from '../kernel.ts';

export const zeroBlocks: Kernel<'zeroBlocks'> = (op, context) => {
  const kCache = context.tensor(op.kCache);
  const blocks = context.tensor(op.blocks);
  const words = blockWords(kCache);
  return [
    dispatch('zero_blocks', {
      fragments: {},
      params: { count: dimCode(blocks.shape[0]!), words },
      bindings: { k_cache: kCache, v_cache: context.tensor(op.vCache), blocks },
      workgroups: elementGrid(blocks.shape[0]!, words),
    }),
  ];
};
