import { activate } from './lib/activation.ts';
import { type Kernel, scratch64 } from './lib/kernel.ts';
import { dotProducts } from './lib/rows.ts';

/** Columns of out at a time: their weights stay in the processor's cache while all rows of x pass. */
const TILE = 16;

/** out[r][outColumn + n] = activation(sum over k of x[r][k] weight[n][k] + bias[n]) + residual[r][outColumn + n] */
export const linear: Kernel<'linear'> = (op, { x, weight, bias, residual, out }) => {
  const [k, width] = [x.width, out.width];
  const decodedX = scratch64();
  const [tile, added] = [new Float64Array(TILE), new Float64Array(TILE)];
  return sizes => {
    const [rows, n] = [out.rows(sizes), weight.rows(sizes)];
    const weights = weight.values();
    const shift = bias?.values();
    const inputs = decodedX.take(rows * k);
    x.load(0, rows * k, inputs);
    for (let first = 0; first < n; first += TILE) {
      const columns = Math.min(TILE, n - first);
      for (let r = 0; r < rows; r++) {
        dotProducts(weights, first, columns, inputs, r * k, k, tile);
        if (shift !== undefined) for (let i = 0; i < columns; i++) tile[i]! += shift[first + i]!;
        activate(op.activation, tile, columns);
        const start = r * width + op.outColumn + first;
        if (residual !== undefined) {
          residual.load(start, columns, added);
          for (let i = 0; i < columns; i++) tile[i]! += added[i]!;
        }
        out.store(start, columns, tile);
      }
    }
  };
};
