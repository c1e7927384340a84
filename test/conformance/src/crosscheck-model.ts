import {
  type Bindings,
  type Device,
  type DeviceTensor,
  type ElementDType,
  type Executable,
  isQuantDType,
  type Op,
  type OpName,
  type Program,
  type StepSizes,
  type TensorName,
  type TypedArray,
} from '@quire/core/contract';
import { decodeFloats, elementCount, opTensors, type Role } from '@quire/core/program';
import { rawArray } from './run-case.ts';

/** A device with the model's tensors on it: weights, caches, row state and step inputs, all with the same contents. */
export interface ModelDevice {
  readonly name: string;
  readonly device: Device;
  readonly bindings: Bindings;
}

export interface CrosscheckModelOptions {
  program: Program;
  sizes: StepSizes;
  /** The first is the oracle. */
  devices: readonly [ModelDevice, ModelDevice];
  /** Bounds of a tensor's error; by default those of the coarsest dtype that the program computes or caches in. */
  tolerance?: ModelTolerance;
}

export interface ModelTolerance {
  /** Norm of the error over the norm of the expected tensor. */
  relativeNorm: number;
  /** Largest error over the root mean square of the expected tensor. */
  relativeMaximum: number;
}

/** One tensor that an op wrote, compared at the end of the step. */
export interface TensorDifference {
  opIndex: number;
  op: OpName;
  tensor: TensorName;
  relativeNorm: number;
  relativeMaximum: number;
  /** The larger of the two over its bound; integers that differ and NaN make it infinite. */
  worst: number;
}

export interface ModelReport {
  program: string;
  tensors: TensorDifference[];
  /** The first op and tensor out of tolerance. */
  first: TensorDifference | undefined;
}

/** Measured between adapters on whole models: 1e-6 and 8e-6. */
const f32Tolerance: ModelTolerance = { relativeNorm: 1e-5, relativeMaximum: 1e-4 };
/** Half a unit of the last place, relative: the most that rounding to nearest may be off. */
const roundoff: Readonly<Record<ElementDType, number>> = {
  f32: 2 ** -24,
  f16: 2 ** -11,
  bf16: 2 ** -8,
  i8: 2 ** -8,
  f8e4m3: 2 ** -4,
  u32: 0,
};

/**
 * Runs one step of a model on two devices with every intermediate kept, and compares what each op wrote, in order. A
 * temporary that is written several times gets a name per version (`hidden@12` is op 12's), so that the result of each op can
 * be seen; caches, row state and what is updated in place are compared as the step leaves them.
 */
export async function crosscheckModel(options: CrosscheckModelOptions): Promise<ModelReport> {
  const program = withVersions(options.program);
  const runs: ModelRun[] = [];
  try {
    for (const { device, bindings } of options.devices) {
      const executable = await device.compile(program, bindings, { keepAll: true });
      runs.push({ device, bindings, executable });
      device.submit([{ executable, sizes: options.sizes }]);
      await device.synchronize();
    }
    const tolerance = options.tolerance ?? defaultTolerance(program);
    const tensors: TensorDifference[] = [];
    for (const { opIndex, op, tensor } of lastWrites(program)) {
      const [expected, actual] = await Promise.all(runs.map(run => readTensor(run, program, options.sizes, tensor)));
      tensors.push({ opIndex, op, tensor, ...difference(expected!, actual!, tolerance) });
    }
    return { program: program.name, tensors, first: tensors.find(({ worst }) => !(worst <= 1)) };
  } finally {
    for (const { executable } of runs) executable.dispose();
  }
}

interface ModelRun {
  device: Device;
  bindings: Bindings;
  executable: Executable;
}

/** Renames: a temporary that is written again becomes a new temporary from there on. */
function withVersions(program: Program): Program {
  const tensors = { ...program.tensors };
  const current = new Map<TensorName, TensorName>();
  const ops = program.ops.map((op, index) => {
    const fields: Record<string, unknown> = { ...op };
    const operands = opTensors(op);
    for (const { field, name } of operands) fields[field] = current.get(name) ?? name;
    for (const { field, name, operand } of operands) {
      if (operand.access !== 'write' || tensors[name]?.kind !== 'temporary') continue;
      const again = current.has(name);
      if (again && continues(op, name, program.ops[index - 1], program)) continue;
      const version = again ? `${name}@${index}` : name;
      tensors[version] = tensors[name];
      current.set(name, version);
      fields[field] = version;
    }
    return fields as unknown as Op;
  });
  return { ...program, tensors, ops };
}

/** Whether an op adds a part to what was written before, instead of writing all of the tensor. */
function continues(op: Op, name: TensorName, previous: Op | undefined, { tensors }: Program): boolean {
  if (op.op !== 'linear' && op.op !== 'embed') return false;
  if (op.op === 'linear') {
    if (tensors[op.weight]!.shape[0] === tensors[op.out]!.shape[1]) return false;
    if (op.residual === name) return true;
  }
  return previous?.op === op.op && previous.out === name;
}

/** Each written tensor once, at the last op that writes it, in order of the ops. */
function lastWrites(program: Program): { opIndex: number; op: OpName; tensor: TensorName }[] {
  const last = new Map<TensorName, { opIndex: number; op: OpName; tensor: TensorName }>();
  program.ops.forEach((op, opIndex) => {
    for (const { name, operand } of opTensors(op)) {
      if (operand.access !== 'read') last.set(name, { opIndex, op: op.op, tensor: name });
    }
  });
  return [...last.values()].sort((a, b) => a.opIndex - b.opIndex);
}

async function readTensor(run: ModelRun, program: Program, sizes: StepSizes, name: TensorName): Promise<TypedArray> {
  const { dtype, shape } = program.tensors[name]!;
  const tensor: DeviceTensor = run.bindings[name] ?? run.executable.tensor(name);
  const raw = rawArray(dtype, elementCount(shape, sizes));
  await run.device.read(tensor, 0, raw);
  return dtype === 'u32' ? raw : decodeFloats(dtype, raw);
}

function difference(expected: TypedArray, actual: TypedArray, tolerance: ModelTolerance) {
  if (expected instanceof Uint32Array) {
    const equal = expected.every((word, i) => word === actual[i]);
    return { relativeNorm: Number(!equal), relativeMaximum: Number(!equal), worst: equal ? 0 : Infinity };
  }
  let [squaredError, squares, largest] = [0, 0, 0];
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(actual[i]! - expected[i]!);
    squaredError += error * error;
    squares += expected[i]! ** 2;
    // Math.max passes NaN on.
    largest = Math.max(largest, error);
  }
  if (squaredError === 0) return { relativeNorm: 0, relativeMaximum: 0, worst: 0 };
  const relativeNorm = Math.sqrt(squaredError / squares);
  const relativeMaximum = largest / Math.sqrt(squares / expected.length);
  const worst = Math.max(relativeNorm / tolerance.relativeNorm, relativeMaximum / tolerance.relativeMaximum);
  return { relativeNorm, relativeMaximum, worst: Number.isNaN(worst) ? Infinity : worst };
}

/**
 * Sums in another order fall on the other side of a rounding now and then. With a 16-bit cache some entries of it are a unit off;
 * with 16-bit activations every layer adds such flips, measured on whole models at up to 3.5 roundoffs of the norm, and 82 of the
 * root mean square in single elements of gated products, whose largest elements are far above it.
 */
function defaultTolerance(program: Program): ModelTolerance {
  const activations = coarsest(program, 'activation');
  if (activations > roundoff.f32) return { relativeNorm: 8 * activations, relativeMaximum: 256 * activations };
  const caches = coarsest(program, 'kv');
  return caches > roundoff.f32 ? { relativeNorm: 6 * caches, relativeMaximum: 60 * caches } : f32Tolerance;
}

function coarsest(program: Program, role: Role): number {
  const operands = program.ops.flatMap(opTensors).filter(({ operand }) => operand.role === role);
  // Quantised weights are exact values.
  const dtypes = operands.map(({ name }) => program.tensors[name]!.dtype);
  return Math.max(0, ...dtypes.map(dtype => (isQuantDType(dtype) ? 0 : roundoff[dtype])));
}
