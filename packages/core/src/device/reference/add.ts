import type { Kernel } from './lib/kernel.ts';

/** out = a + b */
export const add: Kernel<'add'> = (_, { a, b, out }) => {
  const { width } = out;
  const [sum, added] = [new Float64Array(width), new Float64Array(width)];
  return sizes => {
    const rows = out.rows(sizes);
    for (let r = 0; r < rows; r++) {
      a.load(r * width, width, sum);
      b.load(r * width, width, added);
      for (let i = 0; i < width; i++) sum[i]! += added[i]!;
      out.store(r * width, width, sum);
    }
  };
};
