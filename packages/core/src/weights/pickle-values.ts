import type { CheckpointDType } from './types.ts';

/** What a pickle of torch.save may build: plain data, storages and tensors. Nothing here runs code. */
export type PickleValue =
  | null
  | boolean
  | number
  | string
  | PickleFloat
  | PickleTuple
  | PickleList
  | PickleDict
  | PickleGlobal
  | PickleStorage
  | PickleTensor;

/** Apart from integers, so that 1.0 never passes for a size. */
export class PickleFloat {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

export class PickleTuple {
  readonly items: readonly PickleValue[];
  constructor(items: readonly PickleValue[]) {
    this.items = items;
  }
}

export class PickleList {
  readonly items: PickleValue[] = [];
}

export class PickleDict {
  readonly items = new Map<string, PickleValue>();
}

/** A name from the allow-list: `function` may be called by REDUCE, `storage` may stand in a persistent id. */
export type PickleGlobal =
  | { readonly kind: 'function'; readonly name: PickleFunction }
  | { readonly kind: 'storage'; readonly name: string; readonly dtype: CheckpointDType };
export type PickleFunction = 'OrderedDict' | '_rebuild_tensor_v2' | '_rebuild_parameter';

/** One entry `data/KEY` of the archive: `length` elements of one type. */
export class PickleStorage {
  readonly key: string;
  readonly dtype: CheckpointDType;
  readonly length: number;
  constructor(key: string, dtype: CheckpointDType, length: number) {
    this.key = key;
    this.dtype = dtype;
    this.length = length;
  }
}

/** A view of a storage. Offset and strides are in elements. */
export class PickleTensor {
  readonly storage: PickleStorage;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  constructor(storage: PickleStorage, offset: number, shape: readonly number[], strides: readonly number[]) {
    this.storage = storage;
    this.offset = offset;
    this.shape = shape;
    this.strides = strides;
  }
}

const functions: ReadonlyMap<string, PickleGlobal> = new Map([
  ['collections.OrderedDict', { kind: 'function', name: 'OrderedDict' }],
  ['torch._utils._rebuild_tensor_v2', { kind: 'function', name: '_rebuild_tensor_v2' }],
  ['torch._utils._rebuild_parameter', { kind: 'function', name: '_rebuild_parameter' }],
]);

const storageDTypes: ReadonlyMap<string, CheckpointDType> = new Map([
  ['DoubleStorage', 'f64'],
  ['FloatStorage', 'f32'],
  ['HalfStorage', 'f16'],
  ['BFloat16Storage', 'bf16'],
  ['LongStorage', 'i64'],
  ['IntStorage', 'i32'],
  ['CharStorage', 'i8'],
  ['ByteStorage', 'u8'],
  ['BoolStorage', 'bool'],
]);

/** The meaning of an allowed GLOBAL, or null for any other name. */
export function resolveGlobal(module: string, name: string): PickleGlobal | null {
  const dtype = module === 'torch' || module === 'torch.storage' ? storageDTypes.get(name) : undefined;
  if (dtype !== undefined) return { kind: 'storage', name, dtype };
  return functions.get(`${module}.${name}`) ?? null;
}

export function allowedGlobals(): string {
  return [...functions.keys(), ...[...storageDTypes.keys()].map(name => `torch.${name}`)].join(', ');
}

/** A kind of value in a message. */
export function showValue(value: PickleValue | undefined): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'None';
  if (value instanceof PickleFloat) return 'a float';
  if (value instanceof PickleTuple) return `a tuple of ${value.items.length}`;
  if (value instanceof PickleList) return 'a list';
  if (value instanceof PickleDict) return 'a dictionary';
  if (value instanceof PickleStorage) return 'a storage';
  if (value instanceof PickleTensor) return 'a tensor';
  if (typeof value === 'object') return value.name;
  return typeof value === 'string' ? 'a string' : String(value);
}
