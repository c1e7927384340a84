import type { Activation, DType, Op, Program, ProgramTensor, StepSizes, TensorName } from '@quire/core/contract';
import { opAccess, opTensors, sizeNames } from '@quire/core/program';
import type { PlanDescription, PlannedOp, PlannedTensor } from './addon.ts';

/** Indices of the native enums, in kernels/ops/step.h. */
const dtypeIndex: Readonly<Record<DType, number>> = {
  f32: 0,
  f16: 1,
  bf16: 2,
  u32: 3,
  q8: 4,
  q4_32: 5,
  q4_128: 6,
  q4_32z: 7,
  q4_128z: 8,
  i8: 9,
  f8e4m3: 10,
};
const activationIndex: Readonly<Record<Activation, number>> = { none: 0, relu: 1, silu: 2, gelu: 3, geluTanh: 4 };

/** The address of a tensor: its allocation's handle, and the byte offset in it. */
export interface Location {
  readonly handle: number;
  readonly offset: number;
}

/** Sizes in the order of the native StepSizes. */
export function sizeWords(sizes: StepSizes): Int32Array {
  return Int32Array.from(sizeNames, name => sizes[name]);
}

/**
 * Describes a Program to the addon: tensors by location, first dimensions by the size that gives them. `keepAll`: every temporary
 * is to be written.
 */
export function describePlan(
  program: Program,
  locate: (name: TensorName) => Location,
  keepAll: boolean,
): PlanDescription {
  const feeding = keepAll ? new Set<number>() : opsThatFeedTheNext(program);
  const ops = program.ops.map((op, i) => ({ ...describeOp(op, program, locate), feedsNextOnly: feeding.has(i) }));
  return { name: program.name, maxSizes: sizeWords(program.maxSizes), ops };
}

/** Indices of ops whose every output is a temporary that the next op reads and no other op names. */
function opsThatFeedTheNext({ ops, tensors }: Program): Set<number> {
  const named = new Map<TensorName, number[]>();
  ops.forEach((op, i) => {
    for (const name of new Set(opTensors(op).map(tensor => tensor.name))) {
      named.set(name, [...(named.get(name) ?? []), i]);
    }
  });
  const feedsNext = (op: Op, i: number) =>
    opAccess(op).writes.every(name => {
      const [first, second, ...others] = named.get(name)!;
      return tensors[name]!.kind === 'temporary' && first === i && second === i + 1 && others.length === 0;
    });
  return new Set(ops.flatMap((op, i) => (feedsNext(op, i) ? [i] : [])));
}

function describeOp(
  op: Op,
  program: Program,
  locate: (name: TensorName) => Location,
): Omit<PlannedOp, 'feedsNextOnly'> {
  const tensors: Record<string, PlannedTensor> = {};
  const fields = new Set<string>(['op']);
  for (const { field, name } of opTensors(op)) {
    tensors[field] = describeTensor(program.tensors[name]!, locate(name));
    fields.add(field);
  }
  const attributes: Record<string, number> = {};
  for (const [field, value] of Object.entries(op)) {
    if (!fields.has(field)) describeAttribute(field, value as Attribute | readonly number[], attributes);
  }
  return { op: op.op, tensors, attributes };
}

function describeTensor({ dtype, shape }: ProgramTensor, { handle, offset }: Location): PlannedTensor {
  const [rows = 1, ...rest] = shape;
  const columns = rest.reduce<number>((product, dim) => product * (dim as number), 1);
  if (typeof rows === 'number') return [handle, offset, dtypeIndex[dtype], rows, -1, columns];
  return [handle, offset, dtypeIndex[dtype], 0, sizeNames.indexOf(rows), columns];
}

type Attribute = number | boolean | Activation;

/** A list is its length, and its numbers under names of their own: `field.0`, `field.1` ... */
function describeAttribute(
  field: string,
  value: Attribute | readonly number[],
  attributes: Record<string, number>,
): void {
  if (typeof value !== 'object') {
    attributes[field] = attributeNumber(value);
    return;
  }
  attributes[field] = value.length;
  for (const [i, number] of value.entries()) attributes[`${field}.${i}`] = number;
}

function attributeNumber(value: Attribute): number {
  if (typeof value === 'string') return activationIndex[value];
  return Number(value);
}
