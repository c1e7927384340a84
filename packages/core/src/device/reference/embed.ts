import type { Kernel } from './lib/kernel.ts';

/** out[t] = table[ids[t] + offset - firstRow] where the table has that row; other rows of out stay as they are. */
export const embed: Kernel<'embed'> = (op, { ids, table, out }) => {
  const { width } = table;
  const row = new Float64Array(width);
  return sizes => {
    const [tokens, tableRows] = [out.rows(sizes), table.rows(sizes)];
    for (let t = 0; t < tokens; t++) {
      const index = ids.data[t]! + op.offset - op.firstRow;
      if (index < 0 || index >= tableRows) continue;
      table.load(index * width, width, row);
      out.store(t * width, width, row);
    }
  };
};
