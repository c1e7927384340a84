import { cacheCodes, type DType, isQuantDType, type QuantDType, type StepSizes } from '../../../contract/contract.ts';
import { dequantize, e4m3Table, floatToBfloat16, floatToE4m3, floatToHalf, halfTable } from '../../../program/index.ts';

/** Elements as they lie in memory: the bits of f16 and bf16 are in a Uint16Array. */
export type RawArray =
  | Uint8Array<ArrayBuffer>
  | Float32Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>;

/** Memory that a view looks at. `version` grows with every write from the host. */
export interface Storage {
  readonly dtype: DType;
  readonly raw: RawArray;
  readonly version: number;
  /** Room for the values in f32, made on first use. */
  decodedValues(): Float32Array;
  /** The version that lies there. */
  decodedVersion: number;
}

/** A tensor of an op as rows of `width` elements. The number of rows may depend on the step. */
export interface View {
  readonly width: number;
  rows(sizes: StepSizes): number;
}

/** A u32 tensor of an op. */
export interface Words extends View {
  readonly data: Uint32Array;
}

/** A floating-point tensor of an op. Offsets are in elements. */
export interface Floats extends View {
  readonly dtype: DType;
  /** into[at + i] = the value of element start + i. */
  load(start: number, count: number, into: Float64Array, at?: number): void;
  /** The same into f32, which holds every dtype exactly. */
  loadF32(start: number, count: number, into: Float32Array, at: number): void;
  /** Element start + i = from[at + i], rounded once to the tensor's dtype. */
  store(start: number, count: number, from: Float64Array, at?: number): void;
  /** All values in f32. Others than f32 are decoded once per version: for weights. */
  values(): Float32Array;
}

export function words(view: View, storage: Storage): Words {
  return { ...view, data: storage.raw as Uint32Array };
}

export function floats(view: View, storage: Storage): Floats {
  if (isQuantDType(storage.dtype))
    return { ...view, dtype: storage.dtype, ...quantAccess(storage, storage.dtype, view.width) };
  const accesses = { f32: f32Access, f16: f16Access, bf16: bf16Access, i8: i8Access, f8e4m3: f8Access };
  const access = accesses[storage.dtype as keyof typeof accesses];
  return { ...view, dtype: storage.dtype, ...access(storage) };
}

type Access = Pick<Floats, 'load' | 'loadF32' | 'store' | 'values'>;

function f32Access(storage: Storage): Access {
  const raw = storage.raw as Float32Array;
  return {
    load(start, count, into, at = 0) {
      for (let i = 0; i < count; i++) into[at + i] = raw[start + i]!;
    },
    loadF32(start, count, into, at) {
      into.set(raw.subarray(start, start + count), at);
    },
    store(start, count, from, at = 0) {
      for (let i = 0; i < count; i++) raw[start + i] = from[at + i]!;
    },
    values: () => raw,
  };
}

function f16Access(storage: Storage): Access {
  const raw = storage.raw as Uint16Array;
  const table = halfTable();
  const access: Access = {
    load(start, count, into, at = 0) {
      for (let i = 0; i < count; i++) into[at + i] = table[raw[start + i]!]!;
    },
    loadF32(start, count, into, at) {
      for (let i = 0; i < count; i++) into[at + i] = table[raw[start + i]!]!;
    },
    store(start, count, from, at = 0) {
      for (let i = 0; i < count; i++) raw[start + i] = floatToHalf(from[at + i]!);
    },
    values: () => decodedOnce(storage, access),
  };
  return access;
}

function bf16Access(storage: Storage): Access {
  const raw = storage.raw as Uint16Array;
  const bits = new Uint32Array(1);
  const value = new Float32Array(bits.buffer);
  const access: Access = {
    load(start, count, into, at = 0) {
      for (let i = 0; i < count; i++) {
        bits[0] = raw[start + i]! << 16;
        into[at + i] = value[0]!;
      }
    },
    loadF32(start, count, into, at) {
      const intoBits = new Uint32Array(into.buffer, into.byteOffset, into.length);
      for (let i = 0; i < count; i++) intoBits[at + i] = raw[start + i]! << 16;
    },
    store(start, count, from, at = 0) {
      for (let i = 0; i < count; i++) raw[start + i] = floatToBfloat16(from[at + i]!);
    },
    values: () => decodedOnce(storage, access),
  };
  return access;
}

/** Codes of a cache, without their scales. */
function i8Access(storage: Storage): Access {
  const most = cacheCodes.i8;
  return codeAccess(
    storage,
    Float32Array.from({ length: 256 }, (_, bits) => (bits << 24) >> 24),
    value => Math.min(Math.max(value + ROUND - ROUND, -most), most) & 0xff,
  );
}

function f8Access(storage: Storage): Access {
  return codeAccess(storage, e4m3Table(), floatToE4m3);
}

/** Adding and subtracting it rounds to an integer, ties to even. */
const ROUND = 1.5 * 2 ** 52;

function codeAccess(storage: Storage, table: Float32Array, encode: (value: number) => number): Access {
  const raw = storage.raw as Uint8Array;
  const access: Access = {
    load(start, count, into, at = 0) {
      for (let i = 0; i < count; i++) into[at + i] = table[raw[start + i]!]!;
    },
    loadF32(start, count, into, at) {
      for (let i = 0; i < count; i++) into[at + i] = table[raw[start + i]!]!;
    },
    store(start, count, from, at = 0) {
      for (let i = 0; i < count; i++) raw[start + i] = encode(from[at + i]!);
    },
    values: () => decodedOnce(storage, access),
  };
  return access;
}

/** Read only: what writes weights is the host. */
function quantAccess(storage: Storage, dtype: QuantDType, columns: number): Access {
  const words = storage.raw as Uint32Array;
  const access: Access = {
    load: (start, count, into, at) => dequantize(dtype, words, columns, start, count, into, at),
    loadF32: (start, count, into, at) => dequantize(dtype, words, columns, start, count, into, at),
    store: () => {
      throw new TypeError('a quantised tensor is not written by an op');
    },
    values: () => decodedOnce(storage, access),
  };
  return access;
}

function decodedOnce(storage: Storage, access: Access): Float32Array {
  const values = storage.decodedValues();
  if (storage.decodedVersion !== storage.version) access.loadF32(0, values.length, values, 0);
  storage.decodedVersion = storage.version;
  return values;
}
