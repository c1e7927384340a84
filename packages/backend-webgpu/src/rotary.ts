import { NONE, type OpOf } from '@quire/core/contract';
import { dimCode, dtypeCode, fixed, type KernelContext } from './kernel.ts';

/** Params and bindings that rope and ropeKvWrite have in common (shaders/lib/rotary.wgsl). */
export function rotaryOperands(op: OpOf<'rope' | 'ropeKvWrite'>, context: KernelContext) {
  const qkv = context.tensor(op.qkv);
  const norm = (name: string | undefined) => (name === undefined ? ('unused' as const) : context.tensor(name));
  const qNorm = norm(op.qNorm);
  return {
    params: {
      tokens: dimCode(qkv.shape[0]!),
      heads: op.heads,
      kv_heads: op.kvHeads,
      head_dim: op.headDim,
      stride: fixed(qkv, 1),
      pairs: op.rotaryDim / 2,
      interleaved: Number(op.interleaved),
      norm_eps: op.normEps ?? 0,
      norm_dtype: qNorm === 'unused' ? NONE : dtypeCode(qNorm),
    },
    bindings: {
      qkv,
      positions: context.tensor(op.positions),
      table: context.tensor(op.table),
      q_norm: qNorm,
      k_norm: norm(op.kNorm),
    },
  };
}

/**
 * How a head falls into units: parts that are whole pairs and whole words. Words `unit * unit_step + i * word_step` for i <
 * unit_words are those of a rotated unit.
 */
export function headUnits({ headDim, rotaryDim, interleaved }: OpOf<'rope' | 'ropeKvWrite'>, wordElements: number) {
  const pairs = rotaryDim / 2;
  const rest = (headDim - rotaryDim) / wordElements;
  const cut = (unitPairs: number, unitStep: number, wordStep: number) => ({
    word_elements: wordElements,
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
