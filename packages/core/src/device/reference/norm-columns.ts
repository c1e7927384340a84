import type { Kernel } from './lib/kernel.ts';

/** columns = columns / sqrt(mean(columns^2) + eps) * weight, in place */
export const normColumns: Kernel<'normColumns'> = ({ eps, column }, { x, weight }) => {
  const count = weight.values().length;
  const columns = new Float64Array(count);
  return sizes => {
    const rows = x.rows(sizes);
    const scale = weight.values();
    for (let r = 0; r < rows; r++) {
      const start = r * x.width + column;
      x.load(start, count, columns);
      let squares = 0;
      for (let i = 0; i < count; i++) squares += columns[i]! * columns[i]!;
      const norm = 1 / Math.sqrt(squares / count + eps);
      for (let i = 0; i < count; i++) columns[i]! *= norm * scale[i]!;
      x.store(start, count, columns);
    }
  };
};
