import type { OpOf } from '@quire/core/contract';
import { dtypeCode, type KernelContext } from '../kernel.ts';

/** What the kernels of a linear layer multiply: x in steps of more than `few` rows, else the rows that its norm makes of others. */
export function layerInput(op: OpOf<'linear'> | OpOf<'gatedLinear'>, context: KernelContext) {
  const norm = context.norms.ofLayer.get(op);
  const plain = { x: context.tensor(op.x), norm_weight: 'unused' as const };
  if (norm === undefined) {
    return { few: 0, params: { eps: 0, norm_dtype: 0 }, bindings: { input_plain: plain, input_normed: plain } };
  }
  const weight = context.tensor(norm.weight);
  const normed = { x: context.tensor(norm.x), norm_weight: weight };
  return {
    few: context.tuning.fewRows,
    params: { eps: norm.eps, norm_dtype: dtypeCode(weight) },
    bindings: { input_plain: plain, input_normed: normed },
  };
}
