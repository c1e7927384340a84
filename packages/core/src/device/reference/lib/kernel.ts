import type { Communicators, OpName, OpOf, StepSizes } from '../../../contract/contract.ts';
import type { operandTable, TensorField } from '../../../program/index.ts';
import type { Floats, Words } from './views.ts';

type OperandOf<K extends OpName, F extends TensorField<K>> = F extends keyof (typeof operandTable)[K]
  ? (typeof operandTable)[K][F]
  : never;
type ViewOf<O> = O extends { role: 'u32' } ? Words : Floats;

/** The tensors of an op by field; optional ones are undefined when the op leaves them out. */
export type KernelTensors<K extends OpName> = {
  readonly [F in TensorField<K>]:
    | ViewOf<OperandOf<K, F>>
    | (OperandOf<K, F> extends { optional: true } ? undefined : never);
};

/** Makes what runs an op at the sizes of a step. Scratch memory is made here, or grown on first need, not per step. */
export type Kernel<K extends OpName> = (op: OpOf<K>, tensors: KernelTensors<K>, communicators: Communicators) => RunOp;
export type RunOp = (sizes: StepSizes) => void;

/** An array that is kept between steps and only grows. */
export class Scratch<A extends Float64Array | Float32Array = Float64Array> {
  readonly #make: (length: number) => A;
  #array: A;

  constructor(make: (length: number) => A) {
    this.#make = make;
    this.#array = make(0);
  }

  /** At least `length` elements; what they hold is whatever the last use left. */
  take(length: number): A {
    if (this.#array.length < length) this.#array = this.#make(Math.max(length, this.#array.length * 2));
    return this.#array;
  }
}

export const scratch64 = () => new Scratch(length => new Float64Array(length));
export const scratch32 = () => new Scratch(length => new Float32Array(length));
