import { dimCode, dispatch, dtypeCode, elementGrid, fixed, type Kernel } from '../kernel.ts';

export const embed: Kernel<'embed'> = (op, context) => {
  const table = context.tensor(op.table);
  const out = context.tensor(op.out);
  const width = fixed(out, 1);
  return [
    dispatch('embed', {
      fragments: {},
      params: {
        rows: dimCode(out.shape[0]!),
        width,
        table_rows: fixed(table, 0),
        shift: op.offset - op.firstRow,
        dtype: dtypeCode(table),
      },
      bindings: { ids: context.tensor(op.ids), weight: table, out },
      workgroups: elementGrid(out.shape[0]!, width),
    }),
  ];
};
