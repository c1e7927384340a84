import {
  type Device,
  type DeviceTensor,
  type DType,
  type Executable,
  elementBytes,
  isCacheDType,
  isQuantDType,
  type Program,
  type StepSizes,
  shapeBytes,
  type TensorName,
  type TypedArray,
} from '@quire/core/contract';
import { elementCount, opAccess, resolveShape } from '@quire/core/program';
import { words } from './checks.ts';
import { guardPattern } from './define.ts';
import type { CaseInputs, ConformanceCase } from './types.ts';

/** Rows after the program's largest size, in every tensor whose first dimension is a size of the step. */
const GUARD_ROWS = 2;
/** Quiet NaN with a payload for floats, and no valid index for integers: fills guards, poisons outputs, pads inputs. */
export const poison: Readonly<Record<DType, number>> = {
  f32: 0x7fc5a5a5,
  f16: 0x7ea5,
  bf16: 0x7fa5,
  // No code of a cache.
  i8: 0x80,
  f8e4m3: 0x7f,
  u32: 0xa5a5a5a5,
  q8: 0xa5a5a5a5,
  q4_32: 0xa5a5a5a5,
  q4_128: 0xa5a5a5a5,
  q4_32z: 0xa5a5a5a5,
  q4_128z: 0xa5a5a5a5,
};

/** What a case left behind: the written tensors at the sizes of the step, and damage that was found around them. */
export interface CaseOutcome {
  outputs: Readonly<Record<TensorName, TypedArray>>;
  /** In words: a guard or an input that has changed. */
  damage: { tensor: TensorName; index: number; expected: number; actual: number; message: string } | undefined;
}

/** Runs cases on one device. Keeps the last program's tensors, because cases of a group follow each other. */
export class CaseRunner {
  readonly #device: Device;
  #current: { program: Program; tensors: Record<TensorName, DeviceTensor>; executable: Executable } | undefined;

  constructor(device: Device) {
    this.#device = device;
  }

  async run(testCase: ConformanceCase, inputs: CaseInputs): Promise<CaseOutcome> {
    const { tensors, executable } = await this.#prepare(testCase);
    const images = new Map<TensorName, TypedArray>();
    for (const [name, tensor] of Object.entries(tensors)) {
      const image = initialImage(tensor, inputs[name]);
      images.set(name, image);
      this.#device.write(tensor, image);
    }
    this.#device.submit([{ executable, sizes: testCase.sizes }]);
    return this.#collect(testCase, tensors, executable, images);
  }

  dispose(): void {
    this.#current?.executable.dispose();
    for (const tensor of Object.values(this.#current?.tensors ?? {})) tensor.dispose();
    this.#current = undefined;
  }

  async #prepare({ program, group }: ConformanceCase) {
    if (this.#current?.program === program) return this.#current;
    this.dispose();
    const tensors: Record<TensorName, DeviceTensor> = {};
    try {
      for (const [name, tensor] of Object.entries(program.tensors)) {
        if (tensor.kind === 'temporary') continue;
        const shape = resolveShape(tensor.shape, program.maxSizes);
        if (typeof tensor.shape[0] === 'string') shape[0]! += GUARD_ROWS;
        tensors[name] = this.#device.createTensor({ name, dtype: tensor.dtype, shape, usage: 'state' });
      }
      const executable = await this.#device.compile(program, tensors, { keepAll: group.guards !== undefined });
      this.#current = { program, tensors, executable };
      return this.#current;
    } catch (error) {
      for (const tensor of Object.values(tensors)) tensor.dispose();
      throw error;
    }
  }

  async #collect(
    { program, sizes, checks, group }: ConformanceCase,
    tensors: Readonly<Record<TensorName, DeviceTensor>>,
    executable: Executable,
    images: ReadonlyMap<TensorName, TypedArray>,
  ): Promise<CaseOutcome> {
    const outputs: Record<TensorName, TypedArray> = {};
    let damage: CaseOutcome['damage'];
    for (const name of Object.keys(checks)) {
      const used = elementCount(program.tensors[name]!.shape, sizes);
      const image = images.get(name);
      const into = image === undefined ? rawArray(program.tensors[name]!.dtype, used) : emptyLike(image);
      await this.#device.read(tensors[name] ?? executable.tensor(name), 0, into);
      outputs[name] = into.subarray(0, used);
      const guards = elementCount(program.tensors[name]!.shape, mayBePadded(sizes) ? program.maxSizes : sizes);
      if (image !== undefined) damage ??= changed(name, 'a guard behind the output', image, into, guards);
    }
    for (const name of group.guards ?? []) {
      const expected = new Float32Array(elementCount(program.tensors[name]!.shape, sizes));
      const into = emptyLike(expected);
      await this.#device.read(executable.tensor(name), 0, into);
      for (let i = 0; i < expected.length; i++) expected[i] = guardPattern(i);
      damage ??= changed(name, 'a guard beside the output', expected, into, 0);
    }
    for (const name of readOnlyTensors(program)) {
      const image = images.get(name)!;
      if (image.byteLength > INPUT_CHECK_BYTES) continue;
      const into = emptyLike(image);
      await this.#device.read(tensors[name]!, 0, into);
      damage ??= changed(name, 'an input', image, into, 0);
    }
    return { outputs, damage };
  }
}

/** Steps that a device may compute at larger sizes (Device.submit). */
function mayBePadded({ tokens, sequences, decodeSequences, samples }: StepSizes): boolean {
  return sequences > 0 && decodeSequences === sequences && tokens === sequences && samples === sequences;
}

/** Inputs up to this size are read back, to see that they are as they were. */
const INPUT_CHECK_BYTES = 2048;

function readOnlyTensors(program: Program): TensorName[] {
  const written = new Set(program.ops.flatMap(op => opAccess(op).writes));
  return Object.keys(program.tensors).filter(name => program.tensors[name]!.kind === 'external' && !written.has(name));
}

function initialImage(tensor: DeviceTensor, provided: TypedArray | undefined): TypedArray {
  const { dtype, shape, name } = tensor.spec;
  const image = rawArray(dtype, shapeBytes(dtype, shape) / elementBytes(dtype));
  words(image).fill(poison[dtype]);
  if (provided === undefined) return image;
  if (provided.constructor !== image.constructor || provided.length > image.length) {
    throw new TypeError(
      `case data of ${name}: ${provided.constructor.name}(${provided.length}) for ${dtype} [${shape.join(', ')}]`,
    );
  }
  // Through the bits: a NaN keeps its payload.
  words(image).set(words(provided));
  return image;
}

export function rawArray(dtype: DType, length: number): TypedArray {
  if (dtype === 'f32') return new Float32Array(length);
  if (isCacheDType(dtype)) return new Uint8Array(length);
  return dtype === 'u32' || isQuantDType(dtype) ? new Uint32Array(length) : new Uint16Array(length);
}

function emptyLike(array: TypedArray): TypedArray {
  return new (array.constructor as new (length: number) => TypedArray)(array.length);
}

function changed(
  tensor: TensorName,
  what: string,
  before: TypedArray,
  after: TypedArray,
  from: number,
): CaseOutcome['damage'] {
  const [a, b] = [words(before), words(after)];
  for (let index = from; index < a.length; index++) {
    if (a[index] !== b[index]) {
      return { tensor, index, expected: a[index]!, actual: b[index]!, message: `${what} was overwritten (words)` };
    }
  }
  return undefined;
}
