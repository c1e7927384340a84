import type { Kernel } from './lib/kernel.ts';

/** out = factor x, or softCap tanh(factor x / softCap) */
export const scale: Kernel<'scale'> = ({ factor, softCap }, { x, out }) => {
  const { width } = out;
  const row = new Float64Array(width);
  return sizes => {
    const rows = out.rows(sizes);
    for (let r = 0; r < rows; r++) {
      x.load(r * width, width, row);
      for (let i = 0; i < width; i++) row[i]! *= factor;
      if (softCap > 0) for (let i = 0; i < width; i++) row[i] = softCap * Math.tanh(row[i]! / softCap);
      out.store(r * width, width, row);
    }
  };
};
