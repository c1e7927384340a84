import type { DType } from '@quire/core/contract';
import { encodeFloats } from '@quire/core/program';
import { u, withinRounded } from '../checks.ts';
import { dtypeName, group } from '../define.ts';
import { floats, halfPatterns, patterns } from '../random.ts';
import { rowVariants } from '../row-variants.ts';
import type { CaseGroup, FloatType } from '../types.ts';
import { rowMaxima } from './rms-norm.ts';

interface Shape {
  /** Of a row: [before, normed, after] columns. */
  columns: readonly [number, number, number];
  weights: DType;
  quick?: boolean;
  /** Default f32. */
  activations?: FloatType;
}

const reason =
  'the mean of squares is an f32 sum, perhaps of one lane in order, in which terms far below the sum are lost: u width / 16 of ' +
  'the largest value in the row, beside 2e-6; columns that are not normed stay as they are';

export function normColumnsCases(): CaseGroup[] {
  const shapes: Shape[] = [
    { columns: [0, 64, 64], weights: 'f32', quick: true },
    { columns: [64, 32, 32], weights: 'f16', quick: true },
    { columns: [5, 7, 3], weights: 'bf16', quick: true },
    { columns: [0, 1, 0], weights: 'f32' },
    { columns: [3, 97, 0], weights: 'f32' },
    { columns: [512, 1024, 512], weights: 'bf16' },
    { columns: [64, 96, 64], weights: 'bf16', activations: 'bf16', quick: true },
    { columns: [1, 33, 2], weights: 'f32', activations: 'f16', quick: true },
  ];
  return shapes.flatMap(norms);
}

function norms({ columns: [before, width, after], weights, quick = false, activations = 'f32' }: Shape): CaseGroup[] {
  const total = before + width + after;
  return group({
    name: `columns=${before}..${before + width} of ${total} ${weights}${dtypeName(activations)}`,
    quick,
    maxSizes: { tokens: 9 },
    ...(width === 1 && { trivial: 'one column' }),
    build(builder) {
      builder.external('x', activations, ['tokens', total]);
      builder.external('weight', weights, [width]);
      builder.add({ op: 'normColumns', x: 'x', weight: 'weight', eps: 1e-5, column: before });
    },
    checks: {
      x: withinRounded(reason, activations, [], ({ expected }) => {
        const largest = rowMaxima(expected as Float32Array, total);
        return i => {
          const normed = i % total >= before && i % total < before + width;
          return normed ? (2e-6 + (u * width) / 16) * largest[Math.floor(i / total)]! : 0;
        };
      }),
    },
    variants: rowVariants(
      [9, 1, 4, 7, 2, 8],
      activations === 'f16' ? halfPatterns : patterns,
      (random, rows, pattern) => ({
        x: encodeFloats(activations, floats(random, rows * total, pattern)),
        weight: encodeFloats(weights, floats(random, width)),
      }),
    ),
  });
}
