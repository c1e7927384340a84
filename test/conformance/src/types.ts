import type { FloatDType, OpName, Program, StepSizes, TensorName, TypedArray } from '@quire/core/contract';
import type { Random } from './random.ts';

/** Dtypes of floats. */
export type FloatType = FloatDType;

/** Raw contents of external tensors at the sizes of the step. Written tensors that are left out start poisoned. */
export type CaseInputs = Readonly<Record<TensorName, TypedArray>>;

/** What a check sees of one written tensor: its elements at the sizes of the step, raw. */
export interface CheckArguments {
  readonly inputs: CaseInputs;
  readonly sizes: StepSizes;
  readonly expected: TypedArray;
  readonly actual: TypedArray;
}

export interface Mismatch {
  /** Element of the tensor. */
  index: number;
  expected: number;
  actual: number;
  /** What is wrong, in words. */
  message: string;
}

export interface Comparison {
  /** The largest error over its tolerance; 0 where all is equal, above 1 (or infinite) where the check fails. */
  worst: number;
  mismatch?: Mismatch;
}

/** How one written tensor is compared. */
export interface OutputCheck {
  /** Why this tolerance is right. */
  readonly reason: string;
  compare(args: CheckArguments): Comparison;
}

/** One run of a group's program. */
export interface CaseVariant {
  readonly name: string;
  /** Defaults to the group's. */
  readonly quick?: boolean;
  /** Sizes of the step; those left out are at their maximum. */
  readonly sizes?: Partial<StepSizes>;
  /** Why the expected output may be constant or unchanged. Without it, such an output fails the case. */
  readonly trivial?: string;
  fill(random: Random, sizes: StepSizes): CaseInputs;
}

/** Cases that share a program, so that it is compiled once. */
export interface CaseGroup {
  readonly name: string;
  /** Part of the quick set. */
  readonly quick: boolean;
  readonly program: Program;
  readonly checks: Readonly<Record<TensorName, OutputCheck>>;
  readonly variants: readonly CaseVariant[];
  /** The written tensors are temporaries between guards, in the device's own arenas. */
  readonly guards?: readonly TensorName[];
}

/** One seeded case of one op. */
export interface ConformanceCase {
  readonly op: OpName;
  /** Its number among the cases of the op; `quire crosscheck --op OP --case N` runs it alone. */
  readonly index: number;
  /** Shapes, dtypes, data and seed, as text. */
  readonly name: string;
  readonly quick: boolean;
  readonly sizes: StepSizes;
  readonly program: Program;
  readonly checks: Readonly<Record<TensorName, OutputCheck>>;
  readonly trivial: string | undefined;
  readonly group: CaseGroup;
  /** Makes the data: the same at every call. */
  inputs(): CaseInputs;
}
