import { DeviceError, type OpOf } from '@quire/core/contract';
import {
  type Dispatch,
  dimCode,
  dispatch,
  dtypeCode,
  elementGrid,
  fixed,
  type Kernel,
  type KernelContext,
  laneConsts,
  laneGrid,
  sizeOf,
  weightFragment,
} from '../kernel.ts';

/** Columns of hidden that a group of lanes computes. */
const TILE_COLUMNS = 4;

export const loraLinear: Kernel<'loraLinear'> = (op, context) => [shrink(op, context), expand(op, context)];

function shrink(op: OpOf<'loraLinear'>, context: KernelContext): Dispatch {
  const { lanes } = context.tuning;
  const [x, weight, hidden] = [context.tensor(op.x), context.tensor(op.a), context.tensor(op.hidden)];
  const [rows, width, depth] = [x.shape[0]!, fixed(hidden, 1), fixed(x, 1)];
  if (depth % 4 !== 0) {
    throw new DeviceError(`${weight.name}: found ${depth} columns, expected a multiple of 4 on this device.`);
  }
  const { name: weights } = weightFragment(weight);
  return dispatch('lora_linear/shrink', {
    fragments: { lanes: lanes.fragment, weights: weights as 'weights_f32' | 'weights_f16' | 'weights_bf16' },
    consts: laneConsts(lanes),
    params: { rows: dimCode(rows), width, depth },
    bindings: { x, adapters: context.tensor(op.adapters), weight, hidden },
    workgroups: laneGrid(lanes, sizes => sizeOf(rows, sizes) * Math.ceil(width / TILE_COLUMNS)),
  });
}

function expand(op: OpOf<'loraLinear'>, context: KernelContext): Dispatch {
  const [b, out] = [context.tensor(op.b), context.tensor(op.out)];
  const [rows, columns] = [out.shape[0]!, fixed(out, 1)];
  const { sliceColumns } = op;
  const endOf = (slice: number) => sliceColumns.slice(0, slice + 1).reduce((end, part) => end + part, 0);
  return dispatch('lora_linear/expand', {
    fragments: {},
    params: {
      rows: dimCode(rows),
      columns,
      rank: fixed(b, 2),
      slices: sliceColumns.length,
      // Of slices that there are not, the end of the last.
      end_0: endOf(0),
      end_1: endOf(1),
      end_2: endOf(2),
      b_dtype: dtypeCode(b),
    },
    bindings: {
      hidden: context.tensor(op.hidden),
      adapters: context.tensor(op.adapters),
      b,
      scales: context.tensor(op.scales),
      out,
    },
    workgroups: elementGrid(rows, columns),
  });
}
