import { activate } from './lib/activation.ts';
import { type Kernel, scratch64 } from './lib/kernel.ts';
import { dotProducts } from './lib/rows.ts';

/** Columns of out at a time: their two rows of weights stay in the processor's cache while all rows of x pass. */
const TILE = 8;

/** out[r][j] = activation(x[r] weight[j] + bias[j]) * (x[r] weight[n + j] + bias[n + j]) */
export const gatedLinear: Kernel<'gatedLinear'> = (op, { x, weight, bias, out }) => {
  const [k, n] = [x.width, out.width];
  const decodedX = scratch64();
  const [gate, up] = [new Float64Array(TILE), new Float64Array(TILE)];
  return sizes => {
    const rows = out.rows(sizes);
    const [weights, shift] = [weight.values(), bias?.values()];
    const inputs = decodedX.take(rows * k);
    x.load(0, rows * k, inputs);
    for (let first = 0; first < n; first += TILE) {
      const columns = Math.min(TILE, n - first);
      for (let r = 0; r < rows; r++) {
        for (const [tile, row] of [
          [gate, first],
          [up, n + first],
        ] as const) {
          dotProducts(weights, row, columns, inputs, r * k, k, tile);
          if (shift !== undefined) for (let i = 0; i < columns; i++) tile[i]! += shift[row + i]!;
        }
        activate(op.activation, gate, columns);
        for (let i = 0; i < columns; i++) gate[i]! *= up[i]!;
        out.store(r * n + first, columns, gate);
      }
    }
  };
};
