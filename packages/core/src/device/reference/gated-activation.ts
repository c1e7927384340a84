import { activate } from './lib/activation.ts';
import type { Kernel } from './lib/kernel.ts';

/** out = activation(gate) * up, x = gate then up. */
export const gatedActivation: Kernel<'gatedActivation'> = (op, { x, out }) => {
  const { width } = out;
  const [gate, up] = [new Float64Array(width), new Float64Array(width)];
  return sizes => {
    const rows = out.rows(sizes);
    for (let r = 0; r < rows; r++) {
      x.load(r * 2 * width, width, gate);
      x.load(r * 2 * width + width, width, up);
      activate(op.activation, gate, width);
      for (let i = 0; i < width; i++) gate[i]! *= up[i]!;
      out.store(r * width, width, gate);
    }
  };
};
