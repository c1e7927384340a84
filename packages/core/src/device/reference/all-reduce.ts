import { type Kernel, scratch32, scratch64 } from './lib/kernel.ts';

/** out = residual + the sum of x over the ranks, rounded to f32 once summed */
export const allReduce: Kernel<'allReduce'> = (_, { x, residual, out }, { tensor }) => {
  const { width } = out;
  const [values, sum] = [scratch32(), scratch64()];
  const added = new Float64Array(width);
  return sizes => {
    const elements = out.rows(sizes) * width;
    const data = values.take(elements).subarray(0, elements);
    x.loadF32(0, elements, data, 0);
    tensor.allReduce(data);
    const total = sum.take(elements);
    total.set(data);
    for (let start = 0; residual !== undefined && start < elements; start += width) {
      residual.load(start, width, added);
      for (let i = 0; i < width; i++) total[start + i]! += added[i]!;
    }
    out.store(0, elements, total);
  };
};
