/** Checks of outputs. They are written as `!(error <= tolerance)`, so that NaN fails. */
import type { DType, TensorName, TypedArray } from '@quire/core/contract';
import { decodeFloats } from '@quire/core/program';
import type { CheckArguments, Comparison, FloatType, OutputCheck } from './types.ts';

/** Half a unit in the last place of f32, relative. */
export const u = 2 ** -24;
/** Half a unit in the last place of a dtype, relative. */
export const unitRoundoff: Readonly<Record<FloatType, number>> = { f32: u, f16: 2 ** -11, bf16: 2 ** -8 };
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

/** What rounding a value to a dtype may add where it goes either way: a unit in the last place, or the smallest f16. */
export function roundingBound(dtype: FloatType, value: number): number {
  return dtype === 'f32' ? 0 : Math.max(2 * unitRoundoff[dtype] * Math.abs(value), dtype === 'f16' ? 2 ** -24 : 0);
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

/**
 * `within` for an op whose activations are in `dtype`: `prepare` sees the values of those that are named, and the rounding of the
 * output, which may go either way, is added to its bounds.
 */
export function withinRounded(
  reason: string,
  dtype: FloatType,
  activations: readonly TensorName[],
  prepare: Parameters<typeof within>[1],
): OutputCheck {
  const rounding = dtype === 'f32' ? '' : `; then a rounding to ${dtype}, which may go either way`;
  const prepareRounded = (args: Omit<CheckArguments, 'actual'>) => {
    const inputs = { ...args.inputs };
    for (const name of activations) if (inputs[name] !== undefined) inputs[name] = decodeFloats(dtype, inputs[name]);
    const bound = prepare({ ...args, inputs });
    return (i: number) => bound(i) + roundingBound(dtype, args.expected[i]!);
  };
  return within(reason + rounding, prepareRounded, dtype);
}

export function compareValues(
  expected: ArrayLike<number>,
  actual: ArrayLike<number>,
  bound: (index: number) => number,
): Comparison {
  const result: Comparison = { worst: 0 };
  for (let index = 0; index < expected.length; index++) {
    // Equal ones may both be infinite, beyond the output's dtype.
    const error = actual[index] === expected[index] ? 0 : Math.abs(actual[index]! - expected[index]!);
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
