import type { ConformanceCase } from '@quire/conformance';
import {
  type DType,
  type ElementDType,
  isQuantDType,
  type Program,
  type StepSizes,
  type TensorName,
} from '@quire/core/contract';
import {
  bfloat16ToFloat,
  e4m3Table,
  floatToBfloat16,
  floatToHalf,
  halfToFloat,
  resolveShape,
} from '@quire/core/program';
import { recordValues } from './quantised.ts';

/** Values of a tensor in f64; undefined where nothing has been written. */
export type Values = (number | undefined)[];

const roundTo: Readonly<Record<ElementDType, (value: number) => number>> = {
  f32: Math.fround,
  f16: value => halfToFloat(floatToHalf(value)),
  bf16: value => bfloat16ToFloat(floatToBfloat16(value)),
  i8: value => Math.sign(value) * Math.min(roundHalfEven(Math.abs(value)), 127),
  f8e4m3: value => nearestOf(e4m3Table(), Math.sign(value) * Math.min(Math.abs(value), 448)),
  u32: value => value,
};

const decoders: Readonly<Record<ElementDType, (bits: number) => number>> = {
  f32: value => value,
  f16: halfToFloat,
  bf16: bfloat16ToFloat,
  i8: bits => (bits < 128 ? bits : bits - 256),
  f8e4m3: bits => e4m3Table()[bits]!,
  u32: value => value,
};

function roundHalfEven(value: number): number {
  const low = Math.floor(value);
  const above = value - low;
  return above > 0.5 || (above === 0.5 && low % 2 === 1) ? low + 1 : low;
}

/** The nearest number of a table by bits; of two, the one with even bits. */
function nearestOf(table: Float32Array, value: number): number {
  let best = 0;
  table.forEach((candidate, bits) => {
    const [error, least] = [Math.abs(candidate - value), Math.abs(table[best]! - value)];
    if (error < least || (error === least && bits % 2 === 0)) best = bits;
  });
  return table[best]!;
}

/** The tensors of a case as plain arrays, at the sizes of the step. */
export class Tensors {
  readonly sizes: StepSizes;
  readonly #program: Program;
  readonly #values = new Map<TensorName, Values>();

  constructor(testCase: ConformanceCase) {
    this.#program = testCase.program;
    this.sizes = testCase.sizes;
    const inputs = testCase.inputs();
    for (const [name, { dtype }] of Object.entries(this.#program.tensors)) {
      const length = this.shape(name).reduce((product, dim) => product * dim, 1);
      if (isQuantDType(dtype)) {
        this.#values.set(name, recordValues(dtype, inputs[name] as Uint32Array, this.shape(name)));
        continue;
      }
      const decode = decoders[dtype];
      this.#values.set(
        name,
        Array.from({ length }, (_, i) => (inputs[name] === undefined ? undefined : decode(inputs[name][i]!))),
      );
    }
  }

  shape(name: TensorName): number[] {
    return resolveShape(this.#program.tensors[name]!.shape, this.sizes);
  }

  dtype(name: TensorName): DType {
    return this.#program.tensors[name]!.dtype;
  }

  /** All values, to be read and written. */
  values(name: TensorName): Values {
    return this.#values.get(name)!;
  }

  /** One element by its coordinates. */
  at(name: TensorName, ...coordinates: number[]): number {
    return this.values(name)[this.#offset(name, coordinates)] ?? Number.NaN;
  }

  set(name: TensorName, value: number, ...coordinates: number[]): void {
    this.values(name)[this.#offset(name, coordinates)] = value;
  }

  /** A value as the tensor would hold it. */
  rounded(name: TensorName, value: number): number {
    return roundTo[this.#program.tensors[name]!.dtype as ElementDType](value);
  }

  /** Rounds all values to the tensor's dtype, as memory does. */
  round(name: TensorName): void {
    const values = this.values(name);
    const { dtype } = this.#program.tensors[name]!;
    values.forEach((value, i) => {
      if (value !== undefined) values[i] = roundTo[dtype as ElementDType](value);
    });
  }

  /** The f32 that a word's bits stand for. */
  float(name: TensorName, ...coordinates: number[]): number {
    return new Float32Array(Uint32Array.of(this.at(name, ...coordinates)).buffer)[0]!;
  }

  #offset(name: TensorName, coordinates: readonly number[]): number {
    const shape = this.shape(name);
    return coordinates.reduce((offset, coordinate, axis) => offset * shape[axis]! + coordinate, 0);
  }
}

export function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
