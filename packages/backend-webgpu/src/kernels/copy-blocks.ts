import { blockWords, cachePairs, dimCode, dispatch, elementGrid, type Kernel, sizeOf } from '../kernel.ts';

/** Reads every source into scratch before anything is written. */
export const copyBlocks: Kernel<'copyBlocks'> = (op, context) => {
  const pairs = context.tensor(op.pairs);
  const count = pairs.shape[0]!;
  return cachePairs(op, context).flatMap(([kCache, vCache]) => {
    const words = blockWords(kCache);
    const scratch = { scratch: 'shared' as const, bytes: sizeOf(count, context.maxSizes) * 2 * words * 4 };
    const spec = {
      fragments: {},
      params: { count: dimCode(count), words },
      bindings: { k_cache: kCache, v_cache: vCache, pairs, scratch },
      workgroups: elementGrid(count, words),
    };
    return [dispatch('copy_blocks/gather', spec), dispatch('copy_blocks/scatter', spec)];
  });
};
