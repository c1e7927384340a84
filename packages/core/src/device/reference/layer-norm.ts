import type { Kernel } from './lib/kernel.ts';

/** out = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias (Ba, Kiros and Hinton 2016). */
export const layerNorm: Kernel<'layerNorm'> = (op, { x, weight, bias, out }) => {
  const { width } = out;
  const row = new Float64Array(width);
  return sizes => {
    const rows = out.rows(sizes);
    const scale = weight.values();
    const shift = bias?.values();
    for (let r = 0; r < rows; r++) {
      x.load(r * width, width, row);
      let sum = 0;
      for (let i = 0; i < width; i++) sum += row[i]!;
      const mean = sum / width;
      let squares = 0;
      for (let i = 0; i < width; i++) squares += (row[i]! - mean) ** 2;
      const norm = 1 / Math.sqrt(squares / width + op.eps);
      for (let i = 0; i < width; i++) row[i] = (row[i]! - mean) * norm * scale[i]! + (shift?.[i] ?? 0);
      out.store(r * width, width, row);
    }
  };
};
