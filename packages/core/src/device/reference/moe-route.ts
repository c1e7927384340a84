import type { Kernel } from './lib/kernel.ts';

/** The largest logits of each token, and the softmax at them. */
export const moeRoute: Kernel<'moeRoute'> = (op, { logits, experts, shares }) => {
  const [count, chosen] = [logits.width, experts.width];
  const [values, exponentials] = [new Float64Array(count), new Float64Array(chosen)];
  return sizes => {
    const rows = experts.rows(sizes);
    for (let row = 0; row < rows; row++) {
      logits.load(row * count, count, values);
      const ids = experts.data.subarray(row * chosen, (row + 1) * chosen);
      for (let j = 0; j < chosen; j++) ids[j] = next(values, j === 0 ? -1 : ids[j - 1]!);
      const largest = values[ids[0]!]!;
      let total = 0;
      for (let j = 0; j < chosen; j++) exponentials[j] = Math.exp(values[ids[j]!]! - largest);
      if (op.normalize) for (const value of exponentials) total += value;
      else for (const value of values) total += Math.exp(value - largest);
      for (let j = 0; j < chosen; j++) exponentials[j]! /= total;
      shares.store(row * chosen, chosen, exponentials);
    }
  };
};

/** The one that follows `last` (-1: none) in falling order of values, ties in rising order of ids. */
function next(values: Float64Array, last: number): number {
  let best = -1;
  for (let id = 0; id < values.length; id++) {
    const value = values[id]!;
    const follows = last < 0 || value < values[last]! || (value === values[last]! && id > last);
    if (follows && (best < 0 ? !Number.isNaN(value) : value > values[best]!)) best = id;
  }
  return Math.max(best, 0);
}
