import { dimCode, dispatch, elementGrid, headVectors, type Kernel, type KvName } from '../kernel.ts';

export const kvWrite: Kernel<'kvWrite'> = (op, context) => {
  const qkv = context.tensor(op.qkv);
  const kCache = context.tensor(op.kCache);
  const vectors = headVectors(op.headDim);
  return [
    dispatch('kv_write', {
      fragments: { kv: `kv_${kCache.dtype}` as KvName },
      params: {
        tokens: dimCode(qkv.shape[0]!),
        kv_heads: op.kvHeads,
        head_vectors: vectors,
        block_size: op.blockSize,
        key_start: op.heads * vectors,
        stride: (op.heads + 2 * op.kvHeads) * vectors,
      },
      bindings: {
        qkv,
        slot_mapping: context.tensor(op.slotMapping),
        k_cache: kCache,
        v_cache: context.tensor(op.vCache),
      },
      workgroups: elementGrid(qkv.shape[0]!, op.kvHeads * vectors),
    }),
  ];
};
