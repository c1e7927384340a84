import { NONE, type OpOf } from '@quire/core/contract';
import { activationCode, dimCode, dispatch, dtypeCode, fixed, type Kernel, type KernelContext } from '../kernel.ts';
import { linearForms } from './linear-forms.ts';

const RESIDUAL_NONE = 0;
const RESIDUAL_READ = 1;
const RESIDUAL_IN_OUT = 2;

/**
 * The kernel that takes a step depends on its number of rows. Those of one list add along depth in the same order, so that a row
 * comes out the same in every batch.
 */
const shapes = [
  { shader: 'linear/matvec', fewest: 1, up: 1, tileRows: 1, tileColumns: 8 },
  { shader: 'linear/tile_4', fewest: 2, up: 4, tileRows: 4, tileColumns: 4 },
  { shader: 'linear/tile_8', fewest: 5, up: Infinity, tileRows: 8, tileColumns: 4 },
] as const;
const shaders = { shapes, perOutput: 1, packedColumns: 8 } as const;

export const linear: Kernel<'linear'> = (op, context) =>
  linearForms(op, operands(op, context), shaders, context).map(form => {
    if (form.way === 'anyDepth') return dispatch('linear/any_depth', form);
    if (form.way === 'columns') return dispatch('linear/columns', form);
    if (form.way === 'packed') return dispatch('linear/packed', form);
    return dispatch(form.shape.shader, form);
  });

function operands(op: OpOf<'linear'>, context: KernelContext) {
  const x = context.tensor(op.x);
  const weight = context.tensor(op.weight);
  const out = context.tensor(op.out);
  const inOut = op.residual === op.out;
  const bias = op.bias === undefined ? undefined : context.tensor(op.bias);
  const params = {
    rows: dimCode(x.shape[0]!),
    columns: fixed(weight, 0),
    depth: fixed(x, 1),
    width: fixed(out, 1),
    out_column: op.outColumn,
    bias_dtype: bias === undefined ? NONE : dtypeCode(bias),
    activation: activationCode(op.activation),
    residual_mode: op.residual === undefined ? RESIDUAL_NONE : inOut ? RESIDUAL_IN_OUT : RESIDUAL_READ,
  };
  const bindings = {
    weight,
    out,
    residual: op.residual === undefined || inOut ? ('unused' as const) : context.tensor(op.residual),
    bias: bias ?? ('unused' as const),
  };
  return { params, bindings };
}
