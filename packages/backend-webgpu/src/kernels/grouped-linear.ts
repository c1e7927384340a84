import { DeviceError, type OpOf } from '@quire/core/contract';
import {
  activationCode,
  type Dispatch,
  dimCode,
  dispatch,
  fixed,
  type Kernel,
  type KernelContext,
  laneConsts,
  laneGrid,
  sizeOf,
  weightFragment,
} from '../kernel.ts';

const RESIDUAL_NONE = 0;
const RESIDUAL_READ = 1;
const RESIDUAL_IN_OUT = 2;

/** Columns of out that a group of lanes computes. */
const TILE_COLUMNS = 4;

export const groupedLinear: Kernel<'groupedLinear'> = (op, context) => [
  op.shares === undefined ? gated(op, context) : summed(op, op.shares, context),
];

function gated(op: OpOf<'groupedLinear'>, context: KernelContext): Dispatch {
  const { common, params, experts, out } = operands(op, context);
  const chosen = fixed(experts, 1);
  const columns = fixed(out, 1) / chosen;
  return dispatch('grouped_linear/gated', {
    ...common,
    params: {
      ...params,
      columns,
      count: rowsOf(op, context) / (2 * columns),
      activation: activationCode(op.activation),
    },
    bindings: { x: context.tensor(op.x), experts, weight: context.tensor(op.weight), out },
    workgroups: grid(op, context, chosen * Math.ceil(columns / TILE_COLUMNS)),
  });
}

function summed(op: OpOf<'groupedLinear'>, shares: string, context: KernelContext): Dispatch {
  const { common, params, experts, out } = operands(op, context);
  const columns = fixed(out, 1);
  const inOut = op.residual === op.out;
  const residualMode = op.residual === undefined ? RESIDUAL_NONE : inOut ? RESIDUAL_IN_OUT : RESIDUAL_READ;
  return dispatch('grouped_linear/summed', {
    ...common,
    params: { ...params, columns, count: rowsOf(op, context) / columns, residual_mode: residualMode },
    bindings: {
      x: context.tensor(op.x),
      experts,
      weight: context.tensor(op.weight),
      shares: context.tensor(shares),
      residual: op.residual === undefined || inOut ? 'unused' : context.tensor(op.residual),
      out,
    },
    workgroups: grid(op, context, Math.ceil(columns / TILE_COLUMNS)),
  });
}

function operands(op: OpOf<'groupedLinear'>, context: KernelContext) {
  const { lanes } = context.tuning;
  const weight = context.tensor(op.weight);
  const experts = context.tensor(op.experts);
  const depth = fixed(weight, 1);
  if (depth % 4 !== 0) {
    throw new DeviceError(`${weight.name}: found ${depth} columns, expected a multiple of 4 on this device.`);
  }
  const { name: weights, consts } = weightFragment(weight);
  return {
    common: { fragments: { lanes: lanes.fragment, weights }, consts: { ...laneConsts(lanes), ...consts } },
    params: { rows: dimCode(experts.shape[0]!), chosen: fixed(experts, 1), depth, first_expert: op.firstExpert },
    experts,
    out: context.tensor(op.out),
  };
}

function rowsOf(op: OpOf<'groupedLinear'>, context: KernelContext): number {
  return fixed(context.tensor(op.weight), 0);
}

/** `groups` of lanes for each token. */
function grid(op: OpOf<'groupedLinear'>, context: KernelContext, groups: number) {
  const rows = context.tensor(op.experts).shape[0]!;
  return laneGrid(context.tuning.lanes, sizes => sizeOf(rows, sizes) * groups);
}
