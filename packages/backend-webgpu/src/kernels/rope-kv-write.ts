import type { OpOf } from '@quire/core/contract';
import { cacheWordElements, dimCode, dispatch, elementGrid, fixed, type Kernel } from '../kernel.ts';

export const ropeKvWrite: Kernel<'ropeKvWrite'> = (op, context) => {
  const qkv = context.tensor(op.qkv);
  const kCache = context.tensor(op.kCache);
  const wordElements = cacheWordElements(kCache, op.headDim);
  const units = unitsOf(op, wordElements);
  return [
    dispatch('rope_kv_write', {
      fragments: {},
      params: {
        tokens: dimCode(qkv.shape[0]!),
        heads: op.heads,
        kv_heads: op.kvHeads,
        head_dim: op.headDim,
        stride: fixed(qkv, 1),
        block_size: op.blockSize,
        pairs: op.rotaryDim / 2,
        interleaved: Number(op.interleaved),
        word_elements: wordElements,
        ...units,
      },
      bindings: {
        qkv,
        positions: context.tensor(op.positions),
        table: context.tensor(op.table),
        slot_mapping: context.tensor(op.slotMapping),
        k_cache: kCache,
        v_cache: context.tensor(op.vCache),
      },
      workgroups: elementGrid(qkv.shape[0]!, (op.heads + 2 * op.kvHeads) * units.units),
    }),
  ];
};

/** How a head falls into parts that are whole pairs and whole words (see the shader). */
function unitsOf({ headDim, rotaryDim, interleaved }: OpOf<'ropeKvWrite'>, wordElements: number) {
  const pairs = rotaryDim / 2;
  const rest = (headDim - rotaryDim) / wordElements;
  const cut = (unitPairs: number, unitStep: number, wordStep: number) => ({
    units: pairs / unitPairs + rest,
    rotary_units: pairs / unitPairs,
    unit_pairs: unitPairs,
    unit_words: (2 * unitPairs) / wordElements,
    unit_step: unitStep,
    word_step: wordStep,
  });
  if (interleaved) return cut(1, 2 / wordElements, 1);
  // Words of two elements with an odd distance between the elements of a pair: no part short of the whole will do.
  return pairs % wordElements === 0 ? cut(wordElements, 1, pairs / wordElements) : cut(pairs, 0, 1);
}
