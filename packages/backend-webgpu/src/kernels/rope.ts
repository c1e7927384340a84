import { dispatch, type Kernel, laneConsts, laneGrid, sizeOf } from '../kernel.ts';
import { headUnits, rotaryOperands } from '../rotary.ts';

export const rope: Kernel<'rope'> = (op, context) => {
  const { lanes } = context.tuning;
  const { params, bindings } = rotaryOperands(op, context);
  const { word_elements, units, rotary_units, unit_pairs } = headUnits(op, 1);
  const tokens = bindings.qkv.shape[0]!;
  return [
    dispatch('rope', {
      fragments: { lanes: lanes.fragment },
      consts: laneConsts(lanes),
      params: { ...params, word_elements, units, rotary_units, unit_pairs },
      bindings,
      workgroups: laneGrid(lanes, sizes => sizeOf(tokens, sizes) * (op.heads + op.kvHeads)),
    }),
  ];
};
