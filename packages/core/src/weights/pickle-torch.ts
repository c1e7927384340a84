import {
  PickleDict,
  type PickleFunction,
  PickleStorage,
  PickleTensor,
  PickleTuple,
  type PickleValue,
} from './pickle-values.ts';

const MAX_RANK = 64;

/** How the functions of the allow-list are called. */
export const signatures: Readonly<Record<PickleFunction, string>> = {
  OrderedDict: 'OrderedDict()',
  _rebuild_tensor_v2: '_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)',
  _rebuild_parameter: '_rebuild_parameter(tensor, requires_grad, hooks)',
};

/** What an allowed function stands for; null when its arguments are not those of its signature. */
export function rebuild(name: PickleFunction, args: readonly PickleValue[]): PickleDict | PickleTensor | null {
  switch (name) {
    case 'OrderedDict':
      return args.length === 0 ? new PickleDict() : null;
    case '_rebuild_parameter':
      return args.length === 3 && args[0] instanceof PickleTensor ? args[0] : null;
    case '_rebuild_tensor_v2':
      // Newer versions add a seventh argument, the tensor's metadata.
      return args.length === 6 || args.length === 7 ? rebuildTensor(args) : null;
  }
}

function rebuildTensor([storage, offset, shape, strides]: readonly PickleValue[]): PickleTensor | null {
  if (!(storage instanceof PickleStorage) || !isSize(offset) || !isSizes(shape) || !isSizes(strides)) return null;
  if (shape.items.length !== strides.items.length) return null;
  return new PickleTensor(storage, offset, shape.items, strides.items);
}

/** The storage of a persistent id ('storage', type, key, device, elements), or null. The device does not matter here. */
export function storageOf(id: PickleValue): PickleStorage | null {
  if (!(id instanceof PickleTuple) || id.items.length !== 5) return null;
  const [tag, type, key, , length] = id.items;
  const isType = typeof type === 'object' && type !== null && 'kind' in type && type.kind === 'storage';
  if (tag !== 'storage' || !isType || typeof key !== 'string' || !isSize(length)) return null;
  return new PickleStorage(key, type.dtype, length);
}

function isSize(value: PickleValue | undefined): value is number {
  return typeof value === 'number' && value >= 0;
}

function isSizes(value: PickleValue | undefined): value is PickleTuple & { items: readonly number[] } {
  return value instanceof PickleTuple && value.items.length <= MAX_RANK && value.items.every(isSize);
}
