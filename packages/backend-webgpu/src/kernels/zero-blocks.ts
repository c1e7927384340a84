import { blockWords, cachePairs, dimCode, dispatch, elementGrid, type Kernel } from '../kernel.ts';

export const zeroBlocks: Kernel<'zeroBlocks'> = (op, context) => {
  const blocks = context.tensor(op.blocks);
  return cachePairs(op, context).map(([kCache, vCache]) => {
    const words = blockWords(kCache);
    return dispatch('zero_blocks', {
      fragments: {},
      params: { count: dimCode(blocks.shape[0]!), words },
      bindings: { k_cache: kCache, v_cache: vCache, blocks },
      workgroups: elementGrid(blocks.shape[0]!, words),
    });
  });
};
