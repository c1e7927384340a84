import { type AttentionShape, cacheCodes, isCacheDType } from '@quire/core/contract';
import {
  cacheWordElements,
  type Dispatch,
  dimCode,
  dispatch,
  elementGrid,
  fixed,
  type Kernel,
  type KernelContext,
  laneConsts,
  laneGrid,
  sizeOf,
} from '../kernel.ts';

export const kvWrite: Kernel<'kvWrite'> = (op, context) => {
  const kCache = context.tensor(op.kCache);
  if (isCacheDType(kCache.dtype)) return [scaledWrite(op, context)];
  const qkv = context.tensor(op.qkv);
  const wordElements = cacheWordElements(kCache, op.headDim);
  const headWords = op.headDim / wordElements;
  return [
    dispatch('kv_write/plain', {
      fragments: {},
      params: { ...place(op, context), head_words: headWords, word_elements: wordElements },
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

/** What kvWrite and ropeKvWrite have in common. */
interface CacheWrite extends AttentionShape {
  readonly qkv: string;
  readonly slotMapping: string;
  readonly kCache: string;
  readonly vCache: string;
  readonly kScales?: string;
  readonly vScales?: string;
}

/** Writes codes and scales of caches in i8 or f8e4m3. */
export function scaledWrite(op: CacheWrite, context: KernelContext): Dispatch {
  const { lanes } = context.tuning;
  const qkv = context.tensor(op.qkv);
  const kCache = context.tensor(op.kCache);
  const dtype = isCacheDType(kCache.dtype) ? kCache.dtype : 'i8';
  const tokens = qkv.shape[0]!;
  return dispatch('kv_write/scaled', {
    fragments: { lanes: lanes.fragment },
    consts: laneConsts(lanes),
    params: {
      ...place(op, context),
      head_words: op.headDim / cacheWordElements(kCache, op.headDim),
      most: cacheCodes[dtype],
      is_float: Number(dtype === 'f8e4m3'),
    },
    bindings: {
      qkv,
      slot_mapping: context.tensor(op.slotMapping),
      k_cache: kCache,
      v_cache: context.tensor(op.vCache),
      k_scales: context.tensor(op.kScales!),
      v_scales: context.tensor(op.vScales!),
    },
    workgroups: laneGrid(lanes, sizes => sizeOf(tokens, sizes) * 2 * op.kvHeads),
  });
}

function place(op: CacheWrite, context: KernelContext) {
  const qkv = context.tensor(op.qkv);
  return {
    tokens: dimCode(qkv.shape[0]!),
    kv_heads: op.kvHeads,
    block_size: op.blockSize,
    key_start: op.heads * op.headDim,
    stride: fixed(qkv, 1),
  };
}
