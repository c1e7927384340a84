import { NONE } from '../../contract/contract.ts';
import { type Kernel, scratch64 } from './lib/kernel.ts';
import { dotProducts } from './lib/rows.ts';

/** out[t] += scale B (A x[t]) of each slice, with the matrices of the token's adapter. */
export const loraLinear: Kernel<'loraLinear'> = (op, { x, adapters, a, b, scales, hidden, out }) => {
  const [depth, hiddenWidth, width] = [x.width, hidden.width, out.width];
  const slices = op.sliceColumns.length;
  const rank = hiddenWidth / slices;
  const [inputs, reduced, sums, products] = [scratch64(), scratch64(), scratch64(), scratch64()];
  return sizes => {
    const [down, up, factors] = [a.values(), b.values(), scales.values()];
    const [row, low] = [inputs.take(depth), reduced.take(hiddenWidth)];
    const [sum, product] = [sums.take(width), products.take(width)];
    for (let token = 0; token < out.rows(sizes); token++) {
      const slot = adapters.data[token]!;
      if (slot === NONE) continue;
      x.load(token * depth, depth, row);
      dotProducts(down, slot * hiddenWidth, hiddenWidth, row, 0, depth, low);
      hidden.store(token * hiddenWidth, hiddenWidth, low);
      out.load(token * width, width, sum);
      let column = 0;
      for (const [slice, columns] of op.sliceColumns.entries()) {
        dotProducts(up, slot * width + column, columns, low, slice * rank, rank, product);
        const scale = factors[slot * slices + slice]!;
        for (let i = 0; i < columns; i++) sum[column + i]! += scale * product[i]!;
        column += columns;
      }
      out.store(token * width, width, sum);
    }
  };
};
