/** Checks of outputs. They are written as `!(error <= tolerance)`, so that NaN fails. */
import type { DType, TypedArray } from '@quire/core/contract';
import { decodeFloats } from '@quire/core/program';
import type { CheckArguments, Comparison, OutputCheck } from './types.ts';

/** Half a unit in the last place of f32, relative. */
export const u = 2 ** -24;
/** Half a unit in the last place of a dtype, relative. */
export const unitRoundoff: Readonly<Record<'f32' | 'f16' | 'bf16', number>> = { f32: u, f16: 2 ** -11, bf16: 2 ** -8 };
/** Below this f32 is subnormal, and adapters may flush it to zero. */
export const SUBNORMAL = 1.2e-38;

/** Bit for bit. */
export function exact(reason: string): OutputCheck {
  return {
    reason,
    compare({ expected, actual }) {
      const [a, b] = [words(expected), words(actual)];
      for (let index = 0; index < a.length; index++) {
        if (a[index] === b[index]) continue;
        const mismatch = {
          index,
          expected: expected[index]!,
          actual: actual[index]!,
          message: 'differs, and must be equal',
        };
        return { worst: Infinity, mismatch };
      }
      return { worst: 0 };
    },
  };
}

/** |actual - expected| <= bound. `prepare` sees values of 16-bit outputs, not their bits, and makes the bounds once per comparison. */
export function within(
  reason: string,
  prepare: (args: Omit<CheckArguments, 'actual'>) => (index: number) => number,
  dtype: DType = 'f32',
): OutputCheck {
  const values = (raw: TypedArray) => (dtype === 'f32' ? raw : decodeFloats(dtype, raw));
  return {
    reason,
    compare(args) {
      const expected = values(args.expected);
      const bound = prepare({ ...args, expected });
      return compareValues(expected, values(args.actual), bound);
    },
  };
}

export function compareValues(
  expected: ArrayLike<number>,
  actual: ArrayLike<number>,
  bound: (index: number) => number,
): Comparison {
  const result: Comparison = { worst: 0 };
  for (let index = 0; index < expected.length; index++) {
    const error = Math.abs(actual[index]! - expected[index]!);
    const tolerance = bound(index) + SUBNORMAL;
    const ratio = error === 0 ? 0 : error / tolerance;
    if (ratio <= 1) {
      if (ratio > result.worst) result.worst = ratio;
      continue;
    }
    const worst = Number.isNaN(ratio) ? Infinity : ratio;
    if (result.mismatch !== undefined && !(worst > result.worst)) continue;
    result.worst = worst;
    const message = `error ${error.toExponential(2)}, tolerance ${tolerance.toExponential(2)}`;
    result.mismatch = { index, expected: expected[index]!, actual: actual[index]!, message };
  }
  return result;
}

/** The bits of an array, so that NaN equals itself and -0 differs from 0. */
export function words(array: TypedArray): Uint32Array | Uint16Array | Uint8Array {
  if (array instanceof Uint16Array || array instanceof Uint8Array) return array;
  return new Uint32Array(array.buffer, array.byteOffset, array.length);
}
