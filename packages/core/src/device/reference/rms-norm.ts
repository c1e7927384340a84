import type { Kernel } from './lib/kernel.ts';

/** out = x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich 2019); with a residual, of sum = x + residual. */
export const rmsNorm: Kernel<'rmsNorm'> = (op, { x, weight, residual, sum, out }) => {
  const { width } = out;
  const [row, added] = [new Float64Array(width), new Float64Array(width)];
  return sizes => {
    const rows = out.rows(sizes);
    const scale = weight.values();
    for (let r = 0; r < rows; r++) {
      const start = r * width;
      x.load(start, width, row);
      if (residual !== undefined && sum !== undefined) {
        residual.load(start, width, added);
        for (let i = 0; i < width; i++) row[i]! += added[i]!;
        sum.store(start, width, row);
        sum.load(start, width, row);
      }
      let squares = 0;
      for (let i = 0; i < width; i++) squares += row[i]! * row[i]!;
      const norm = 1 / Math.sqrt(squares / width + op.eps);
      for (let i = 0; i < width; i++) row[i] = row[i]! * norm * scale[i]!;
      out.store(start, width, row);
    }
  };
};
