import type { TensorName, TypedArray } from '@quire/core/contract';
import { words } from './checks.ts';
import { type CaseOutcome, poison } from './run-case.ts';
import type { CaseInputs, ConformanceCase } from './types.ts';

export interface Verdict {
  /** The largest error over its tolerance. */
  worst: number;
  /** Why the case fails. */
  failure?: { tensor: TensorName; index: number; expected: number; actual: number; message: string };
}

/** Compares what a device did with what the oracle did. */
export function judge(
  testCase: ConformanceCase,
  inputs: CaseInputs,
  oracle: CaseOutcome,
  device: CaseOutcome,
): Verdict {
  let worst = 0;
  for (const [tensor, check] of Object.entries(testCase.checks)) {
    const { dtype } = testCase.program.tensors[tensor]!;
    const expected = oracle.outputs[tensor]!;
    const actual = device.outputs[tensor]!;
    const touched = setUntouchedAside(expected, actual, poison[dtype]);
    if (typeof touched === 'number') {
      const message = 'written, and must be left as it is';
      const failure = { tensor, index: touched, expected: expected[touched]!, actual: actual[touched]!, message };
      return { worst: Infinity, failure };
    }
    const comparison = check.compare({ inputs, sizes: testCase.sizes, ...touched });
    worst = Math.max(worst, comparison.worst);
    if (comparison.mismatch !== undefined) return { worst, failure: { tensor, ...comparison.mismatch } };
  }
  if (device.damage !== undefined) return { worst: Infinity, failure: device.damage };
  return { worst };
}

/** Why a case proves nothing, if it does: its expected outputs are constant, unchanged or not finite. */
export function triviality(testCase: ConformanceCase, inputs: CaseInputs, oracle: CaseOutcome): string | undefined {
  if (oracle.damage !== undefined) return `the oracle damaged ${oracle.damage.tensor}: ${oracle.damage.message}`;
  let varied = testCase.trivial !== undefined;
  for (const [tensor, values] of Object.entries(oracle.outputs)) {
    const bits = words(values);
    const { dtype } = testCase.program.tensors[tensor]!;
    if (dtype === 'f32' && values.some((value, i) => !Number.isFinite(value) && bits[i] !== poison.f32)) {
      return `the expected ${tensor} is not finite`;
    }
    const before = inputs[tensor] === undefined ? undefined : words(inputs[tensor]);
    varied ||= before === undefined ? varies(bits) : bits.some((word, i) => word !== before[i]);
  }
  return varied ? undefined : 'every expected output is constant or unchanged';
}

function varies(bits: ArrayLike<number>): boolean {
  if (bits.length === 1) return bits[0] !== 0;
  for (let i = 1; i < bits.length; i++) if (bits[i] !== bits[0]) return true;
  return false;
}

/**
 * Elements that the oracle leaves poisoned must be so on the device too: the index of one that is not, or both arrays with
 * those elements set to 0, because poison is NaN and would fail a comparison of numbers.
 */
function setUntouchedAside(
  expected: TypedArray,
  actual: TypedArray,
  word: number,
): number | { expected: TypedArray; actual: TypedArray } {
  const [expectedWords, actualWords] = [words(expected), words(actual)];
  if (!expectedWords.includes(word)) return { expected, actual };
  const copies = { expected: expected.slice(), actual: actual.slice() };
  for (let index = 0; index < expectedWords.length; index++) {
    if (expectedWords[index] !== word) continue;
    if (actualWords[index] !== word) return index;
    copies.expected[index] = copies.actual[index] = 0;
  }
  return copies;
}
