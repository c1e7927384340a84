import { NONE, SAMPLE_FINITE, SAMPLE_LIVE } from '../../../contract/contract.ts';
import type { SampleReader } from './samples.ts';
import type { Words } from './views.ts';

/** The index of the largest of count scores from `start`, the lowest among equals; 0 when none compares. */
export function indexOfLargest(scores: Float32Array | Float64Array, start: number, count: number): number {
  let [best, largest] = [0, -Infinity];
  for (let i = 0; i < count; i++) {
    if (!(scores[start + i]! > largest)) continue;
    largest = scores[start + i]!;
    best = i;
  }
  return best;
}

/** Writes the sampled pair of sample `index`: its target if it has one, else the id that `choose` finds. */
export function writeSampled(
  sampled: Words,
  index: number,
  sample: SampleReader,
  logits: Float32Array,
  choose: () => number,
): void {
  if (sample.row === NONE) {
    sampled.data[2 * index] = NONE;
    sampled.data[2 * index + 1] = 0;
    return;
  }
  const finite = logits.every(Number.isFinite);
  sampled.data[2 * index] = sample.target === NONE ? choose() : sample.target;
  sampled.data[2 * index + 1] = SAMPLE_LIVE | (finite ? SAMPLE_FINITE : 0);
}
