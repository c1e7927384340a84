import { NONE, type OpOf } from '@quire/core/contract';
import {
  activationCode,
  dimCode,
  dispatch,
  dtypeCode,
  fixed,
  type Kernel,
  type KernelContext,
  laneConsts,
  laneGrid,
  sizeOf,
  weightFragment,
} from '../kernel.ts';

/** The kernel that a step takes depends on its number of rows. Both add along depth in the same order. */
const shapes = [
  { shader: 'gated_linear/matvec', fewest: 1, up: 1, tileRows: 1 },
  { shader: 'gated_linear/tile_4', fewest: 2, up: Infinity, tileRows: 4 },
] as const;

export const gatedLinear: Kernel<'gatedLinear'> = (op, context) => {
  const { lanes } = context.tuning;
  const x = context.tensor(op.x);
  const rows = x.shape[0]!;
  const weight = context.tensor(op.weight);
  const tileColumns = Math.ceil(fixed(context.tensor(op.out), 1) / 4);
  const { params, bindings } = operands(op, context);
  const fragments = { lanes: lanes.fragment };
  const consts = laneConsts(lanes);
  const grid = (count: (rows: number) => number) => laneGrid(lanes, sizes => count(sizeOf(rows, sizes)) * tileColumns);
  if (fixed(x, 1) % 4 !== 0) {
    const spec = { fragments, consts, bindings, workgroups: grid(count => count) };
    return [dispatch('gated_linear/any_depth', { ...spec, params: { ...params, weight_dtype: dtypeCode(weight) } })];
  }
  const { name: weights, consts: weightConsts } = weightFragment(weight);
  const spec = { fragments: { ...fragments, weights }, consts: { ...consts, ...weightConsts }, params, bindings };
  const [least, most] = typeof rows === 'number' ? [rows, rows] : [0, sizeOf(rows, context.maxSizes)];
  return shapes
    .filter(({ fewest, up }) => fewest <= most && least <= up)
    .map(({ shader, fewest, up, tileRows }) => {
      const workgroups = grid(count => (count < fewest || count > up ? 0 : Math.ceil(count / tileRows)));
      return dispatch(shader, { ...spec, workgroups });
    });
};

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
  return { params, bindings: { x, weight: context.tensor(op.weight), out, bias: bias ?? ('unused' as const) } };
}
