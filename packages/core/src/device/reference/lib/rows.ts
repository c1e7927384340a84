/** The two loops in which the device spends its time. Both add in an order that depends on nothing but their arguments. */

/**
 * into[i] = the dot product of row firstRow + i of a matrix of width k with k inputs, for i < rows. Four rows at a time, each
 * summed in the order of k.
 */
export function dotProducts(
  matrix: Float32Array | Float64Array,
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
      sum0 += input * matrix[row0 + j]!;
      sum1 += input * matrix[row1 + j]!;
      sum2 += input * matrix[row2 + j]!;
      sum3 += input * matrix[row3 + j]!;
    }
    into[i] = sum0;
    into[i + 1] = sum1;
    into[i + 2] = sum2;
    into[i + 3] = sum3;
  }
  for (; i < rows; i++) {
    const row = (firstRow + i) * k;
    let sum = 0;
    for (let j = 0; j < k; j++) sum += inputs[inputStart + j]! * matrix[row + j]!;
    into[i] = sum;
  }
}

/** into[j] = the sum over i < rows of factors[i] times row firstRow + i of a matrix of width k, for j < k. */
export function weightedSum(
  matrix: Float32Array | Float64Array,
  firstRow: number,
  rows: number,
  factors: Float64Array,
  k: number,
  into: Float64Array,
): void {
  for (let j = 0; j < k; j++) into[j] = 0;
  let i = 0;
  for (; i + 4 <= rows; i += 4) {
    const row0 = (firstRow + i) * k;
    const [row1, row2, row3] = [row0 + k, row0 + 2 * k, row0 + 3 * k];
    const [factor0, factor1, factor2, factor3] = [factors[i]!, factors[i + 1]!, factors[i + 2]!, factors[i + 3]!];
    for (let j = 0; j < k; j++) {
      into[j]! +=
        factor0 * matrix[row0 + j]! +
        factor1 * matrix[row1 + j]! +
        (factor2 * matrix[row2 + j]! + factor3 * matrix[row3 + j]!);
    }
  }
  for (; i < rows; i++) {
    const row = (firstRow + i) * k;
    for (let j = 0; j < k; j++) into[j]! += factors[i]! * matrix[row + j]!;
  }
}
