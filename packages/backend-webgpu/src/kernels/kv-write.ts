import { cacheWordElements, dimCode, dispatch, elementGrid, fixed, type Kernel } from '../kernel.ts';

export const kvWrite: Kernel<'kvWrite'> = (op, context) => {
  const qkv = context.tensor(op.qkv);
  const kCache = context.tensor(op.kCache);
  const wordElements = cacheWordElements(kCache, op.headDim);
  const headWords = op.headDim / wordElements;
  return [
    dispatch('kv_write', {
      fragments: {},
      params: {
        tokens: dimCode(qkv.shape[0]!),
        kv_heads: op.kvHeads,
        head_words: headWords,
        word_elements: wordElements,
        block_size: op.blockSize,
        key_start: op.heads * op.headDim,
        stride: fixed(qkv, 1),
      },
      bindings: {
        qkv,
        slot_mapping: context.tensor(op.slotMapping),
        k_cache: kCache,
        v_cache: context.tensor(op.vCache),
      },
      workgroups: elementGrid(qkv.shape[0]!, op.kvHeads * headWords),
    }),
  ];
};
