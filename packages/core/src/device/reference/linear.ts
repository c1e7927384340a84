import { activate } from './lib/activation.ts';
import { type Kernel, Scratch } from './lib/kernel.ts';

/** Columns of out at a time: their weights stay in the processor's cache while all rows of x pass. */
const TILE = 16;

/** out[r][outColumn + n] = activation(sum over k of x[r][k] weight[n][k] + bias[n]) + residual[r][outColumn + n] */
export const linear: Kernel<'linear'> = (op, { x, weight, bias, residual, out }) => {
  const [k, width] = [x.width, out.width];
  const decodedX = new Scratch();
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

/**
 * into[i] = the dot product of weight row firstRow + i with k inputs, for i < rows. Four rows at a time, each summed in the
 * order of k, so the result depends on nothing but the row and the inputs.
 */
function dotProducts(
  weights: Float32Array,
  firstRow: number,
  rows: number,
  inputs: Float64Array,
  inputStart: number,
  k: number,
  into: Float64Array,
): void {
  let i = 0;
  for (; i + 4 <= rows; i += 4) {
    const row0 = (firstRow + i) * k;
    const [row1, row2, row3] = [row0 + k, row0 + 2 * k, row0 + 3 * k];
    let [sum0, sum1, sum2, sum3] = [0, 0, 0, 0];
    for (let j = 0; j < k; j++) {
      const input = inputs[inputStart + j]!;
      sum0 += input * weights[row0 + j]!;
      sum1 += input * weights[row1 + j]!;
      sum2 += input * weights[row2 + j]!;
      sum3 += input * weights[row3 + j]!;
    }
    into[i] = sum0;
    into[i + 1] = sum1;
    into[i + 2] = sum2;
    into[i + 3] = sum3;
  }
  for (; i < rows; i++) {
    const row = (firstRow + i) * k;
    let sum = 0;
    for (let j = 0; j < k; j++) sum += inputs[inputStart + j]! * weights[row + j]!;
    into[i] = sum;
  }
}
