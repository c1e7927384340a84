import { NONE, type OpOf } from '@quire/core/contract';
import { activationCode, dimCode, dispatch, dtypeCode, fixed, type Kernel, type KernelContext } from '../kernel.ts';
import { linearForms } from './linear-forms.ts';

/** The kernel that a step takes depends on its number of rows. Those of one list add along depth in the same order. */
const shapes = [
  { shader: 'gated_linear/matvec', fewest: 1, up: 1, tileRows: 1, tileColumns: 4 },
  { shader: 'gated_linear/tile_4', fewest: 2, up: Infinity, tileRows: 4, tileColumns: 4 },
] as const;
const shaders = { shapes, perOutput: 2, packedColumns: 4 } as const;

export const gatedLinear: Kernel<'gatedLinear'> = (op, context) =>
  linearForms(op, operands(op, context), shaders, context).map(form => {
    if (form.way === 'anyDepth') return dispatch('gated_linear/any_depth', form);
    if (form.way === 'columns') return dispatch('gated_linear/columns', form);
    if (form.way === 'packed') return dispatch('gated_linear/packed', form);
    return dispatch(form.shape.shader, form);
  });

function operands(op: OpOf<'gatedLinear'>, context: KernelContext) {
  const x = context.tensor(op.x);
  const out = context.tensor(op.out);
  const bias = op.bias === undefined ? undefined : context.tensor(op.bias);
  const params = {
    rows: dimCode(x.shape[0]!),
    columns: fixed(out, 1),
    depth: fixed(x, 1),
    bias_dtype: bias === undefined ? NONE : dtypeCode(bias),
    activation: activationCode(op.activation),
  };
  return { params, bindings: { weight: context.tensor(op.weight), out, bias: bias ?? ('unused' as const) } };
}
