import { isCacheDType } from '@quire/core/contract';
import { cacheWordElements, dispatch, type Kernel, laneConsts, laneGrid, sizeOf } from '../kernel.ts';
import { headUnits, rotaryOperands } from '../rotary.ts';
import { scaledWrite } from './kv-write.ts';
import { rope } from './rope.ts';

export const ropeKvWrite: Kernel<'ropeKvWrite'> = (op, context) => {
  const { lanes } = context.tuning;
  const { params, bindings } = rotaryOperands(op, context);
  const kCache = context.tensor(op.kCache);
  // Two more tensors than a stage may have by default.
  if (isCacheDType(kCache.dtype)) return [...rope({ ...op, op: 'rope' }, context), scaledWrite(op, context)];
  const tokens = bindings.qkv.shape[0]!;
  return [
    dispatch('rope_kv_write', {
      fragments: { lanes: lanes.fragment },
      consts: laneConsts(lanes),
      params: { ...params, block_size: op.blockSize, ...headUnits(op, cacheWordElements(kCache, op.headDim)) },
      bindings: {
        ...bindings,
        slot_mapping: context.tensor(op.slotMapping),
        k_cache: kCache,
        v_cache: context.tensor(op.vCache),
      },
      workgroups: laneGrid(lanes, sizes => sizeOf(tokens, sizes) * (op.heads + 2 * op.kvHeads)),
    }),
  ];
};
