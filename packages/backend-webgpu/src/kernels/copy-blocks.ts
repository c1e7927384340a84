import { blockWords, dimCode, dispatch, elementGrid, type Kernel, sizeOf } from '../kernel.ts';

/** Reads every source into scratch before anything is written. */
export const copyBlocks: Kernel<'copyBlocks'> = (op, context) => {
  const kCache = context.tensor(op.kCache);
  const vCache = context.tensor(op.vCache);
  const pairs = context.tensor(op.pairs);
  const count = pairs.shape[0]!;
  const words = blockWords(kCache);
  const scratch = { scratch: 'shared' as const, bytes: sizeOf(count, context.maxSizes) * 2 * words * 4 };
  const spec = {
    fragments: {},
    params: { count: dimCode(count), words },
    bindings: { k_cache: kCache, v_cache: vCache, pairs, scratch },
    workgroups: elementGrid(count, words),
  };
  return [dispatch('copy_blocks/gather', spec), dispatch('copy_blocks/scatter', spec)];
};
