import type { Kernel } from './lib/kernel.ts';

/** out[t] = row ids[t] of the rows that this rank holds, 0 where another rank holds it; rows of other parts stay as they are. */
export const vocabParallelEmbed: Kernel<'vocabParallelEmbed'> = (op, { ids, table, out }, { tensor: { rank } }) => {
  const { width } = table;
  const [row, zeros] = [new Float64Array(width), new Float64Array(width)];
  return sizes => {
    const [tokens, tableRows] = [out.rows(sizes), table.rows(sizes)];
    for (let t = 0; t < tokens; t++) {
      const own = ids.data[t]! - rank * op.rowsPerRank;
      const index = own - op.firstRow;
      if (own < 0 || own >= op.rowsPerRank) out.store(t * width, width, zeros);
      if (own < 0 || own >= op.rowsPerRank || index < 0 || index >= tableRows) continue;
      table.load(index * width, width, row);
      out.store(t * width, width, row);
    }
  };
};
