import { type Kernel, scratch32 } from './lib/kernel.ts';

/** out[t][r W + i] = x[t][i] of rank r; what lies beyond the width of out is dropped. */
export const allGather: Kernel<'allGather'> = (_, { x, out }, { tensor }) => {
  const [own, all] = [scratch32(), scratch32()];
  const values = new Float64Array(x.width);
  return sizes => {
    const rows = out.rows(sizes);
    const elements = rows * x.width;
    const data = own.take(elements).subarray(0, elements);
    x.loadF32(0, elements, data, 0);
    const gathered = all.take(elements * tensor.size).subarray(0, elements * tensor.size);
    tensor.allGather(data, gathered);
    for (let rank = 0; rank * x.width < out.width && rank < tensor.size; rank++) {
      const columns = Math.min(x.width, out.width - rank * x.width);
      for (let t = 0; t < rows; t++) {
        const start = rank * elements + t * x.width;
        values.set(gathered.subarray(start, start + columns));
        out.store(t * out.width + rank * x.width, columns, values);
      }
    }
  };
};
