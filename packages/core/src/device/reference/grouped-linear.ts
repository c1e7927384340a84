import { activate } from './lib/activation.ts';
import { type Kernel, scratch64 } from './lib/kernel.ts';
import { dotProducts } from './lib/rows.ts';

/** The gated layers of a token's experts side by side, or with shares the sum of their layers, in order. */
export const groupedLinear: Kernel<'groupedLinear'> = (op, { x, experts, weight, shares, residual, out }) => {
  const [depth, chosen, width] = [weight.width, experts.width, out.width];
  const n = shares === undefined ? width / chosen : width;
  const decodedX = scratch64();
  const [sums, products, ups] = [new Float64Array(width), new Float64Array(n), new Float64Array(n)];
  const share = new Float64Array(chosen);
  return sizes => {
    const [rows, count] = [out.rows(sizes), weight.rows(sizes) / (shares === undefined ? 2 * n : n)];
    const weights = weight.values();
    const inputs = decodedX.take(x.width);
    for (let row = 0; row < rows; row++) {
      x.load(row * x.width, x.width, inputs);
      shares?.load(row * chosen, chosen, share);
      if (residual === undefined) sums.fill(0);
      else residual.load(row * width, width, sums);
      for (let j = 0; j < chosen; j++) {
        const expert = experts.data[row * chosen + j]! - op.firstExpert;
        if (expert < 0 || expert >= count) continue;
        if (shares === undefined) {
          dotProducts(weights, 2 * n * expert, n, inputs, 0, depth, products);
          dotProducts(weights, 2 * n * expert + n, n, inputs, 0, depth, ups);
          activate(op.activation, products, n);
          for (let i = 0; i < n; i++) products[i]! *= ups[i]!;
          out.store((row * chosen + j) * n, n, products);
        } else {
          dotProducts(weights, n * expert, n, inputs, j * depth, depth, products);
          for (let i = 0; i < n; i++) sums[i]! += share[j]! * products[i]!;
        }
      }
      if (shares !== undefined) out.store(row * width, width, sums);
    }
  };
};
