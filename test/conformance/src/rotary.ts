import type { Random } from './random.ts';

export interface RotaryShape {
  heads: number;
  kvHeads: number;
  headDim: number;
  rotaryDim: number;
  interleaved: boolean;
}

/** Rows of the table. */
export const ROTARY_POSITIONS = 300;

/** Position of token i: all `zero`, all `last`, `consecutive`, or anywhere. */
export function positionOf(order: string, random: Random, i: number): number {
  if (order === 'zero') return 0;
  if (order === 'last') return ROTARY_POSITIONS - 1;
  return order === 'consecutive' ? (17 + i) % ROTARY_POSITIONS : random.integer(0, ROTARY_POSITIONS);
}

/** [ROTARY_POSITIONS, rotaryDim]: cosines, then sines. */
export function rotaryTable(rotaryDim: number): Float32Array {
  const half = rotaryDim / 2;
  const table = new Float32Array(ROTARY_POSITIONS * rotaryDim);
  for (let position = 0; position < ROTARY_POSITIONS; position++) {
    for (let i = 0; i < half; i++) {
      const angle = position / 10_000 ** (i / half);
      table[position * rotaryDim + i] = Math.cos(angle);
      table[position * rotaryDim + half + i] = Math.sin(angle);
    }
  }
  return table;
}

/** How far element i of the rotated qkv may be from its true value: two products and a sum; 0 where nothing is rotated. */
export function rotationBound(shape: RotaryShape, qkv: ArrayLike<number>): (i: number) => number {
  const { heads, kvHeads, headDim, rotaryDim, interleaved } = shape;
  const width = (heads + 2 * kvHeads) * headDim;
  const half = rotaryDim / 2;
  return i => {
    const column = i % width;
    const d = column % headDim;
    if (column >= (heads + kvHeads) * headDim || d >= rotaryDim) return 0;
    const partner = interleaved ? i + (d % 2 === 0 ? 1 : -1) : i + (d < half ? half : -half);
    return 4e-7 * (Math.abs(qkv[i]!) + Math.abs(qkv[partner]!));
  };
}
