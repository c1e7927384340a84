/**
 * Element types, and how weights in few bits lie in memory.
 *
 * A quantised weight [N, K] is one tensor of N records, one per row, each a multiple of 32 bytes: a row part is a range of
 * bytes, codes are loaded 16 bytes at a time, and no row shares a sector of device memory with another. A record is
 *
 *   | part   | q8                                | q4_32, q4_128                        | q4_32z, q4_128z                     |
 *   |--------|-----------------------------------|--------------------------------------|-------------------------------------|
 *   | codes  | K int8                            | K codes of 4 bits, 8 in a u32        | as without z                        |
 *   | scales | one f32                           | one f16 for each 32 or 128 columns   | a pair of f16 (scale, zero) instead |
 *   | value  | scale code                        | scale (code - 8)                     | scale (code - zero)                 |
 *
 * little-endian, the codes filled up to 16 bytes and the record to 32; what fills them has no meaning. Bits 4 i of word w hold the code of column
 * 8 w + 2 i, bits 4 i + 16 that of column 8 w + 2 i + 1 (i < 4): a shift and a mask give a pair of neighbours in two halves.
 * A zero is an integer from 0 to 16. K is a multiple of the group. Values are f32: the product is rounded once.
 */

/** What activations, biases and norms are stored in. */
export type FloatDType = 'f32' | 'f16' | 'bf16';
/**
 * What a KV cache alone is stored in, beside floats: int8, and fp8 with 4 bits of exponent and 3 of mantissa (OCP E4M3: no
 * infinity, 448 is the largest). Each vector of a head has a scale: its largest magnitude / 127 or / 448, in f32. A value is the
 * scale times the code, and codes are rounded to nearest, ties to even.
 */
export type CacheDType = 'i8' | 'f8e4m3';
/** Weights of matrices in few bits. */
export type QuantDType = 'q8' | 'q4_32' | 'q4_128' | 'q4_32z' | 'q4_128z';
/** What a weight may be stored in. */
export type WeightDType = FloatDType | QuantDType;
/** Types of one element after the other. `u32` also carries packed records whose floats are bit-cast. */
export type ElementDType = FloatDType | CacheDType | 'u32';
export type DType = ElementDType | QuantDType;

/** Bytes of one element. */
export const dtypeBytes: Readonly<Record<ElementDType, number>> = {
  f32: 4,
  f16: 2,
  bf16: 2,
  i8: 1,
  f8e4m3: 1,
  u32: 4,
};

/** The largest code of a cache in this dtype, to which the largest magnitude of a vector is scaled. */
export const cacheCodes: Readonly<Record<CacheDType, number>> = { i8: 127, f8e4m3: 448 };

export function isCacheDType(dtype: string): dtype is CacheDType {
  return Object.hasOwn(cacheCodes, dtype);
}

export interface QuantFormat {
  readonly bits: 4 | 8;
  /** Columns that share a scale; 0: all of a row do. */
  readonly group: number;
  /** Groups have a zero point of their own. */
  readonly zeros: boolean;
}

export const quantFormats: Readonly<Record<QuantDType, QuantFormat>> = {
  q8: { bits: 8, group: 0, zeros: false },
  q4_32: { bits: 4, group: 32, zeros: false },
  q4_128: { bits: 4, group: 128, zeros: false },
  q4_32z: { bits: 4, group: 32, zeros: true },
  q4_128z: { bits: 4, group: 128, zeros: true },
};

export const quantDTypes = Object.keys(quantFormats) as QuantDType[];

export function isQuantDType(dtype: string): dtype is QuantDType {
  return Object.hasOwn(quantFormats, dtype);
}

/** The zero point of symmetric 4-bit codes. */
export const Q4_ZERO = 8;

/** Where the parts of a record of `columns` values lie, in bytes. */
export interface QuantRecord {
  /** Of the codes, and the offset of the scales. */
  readonly codeBytes: number;
  /** Scales of the row. */
  readonly groups: number;
  /** From one record to the next. */
  readonly bytes: number;
}

export function quantRecord(dtype: QuantDType, columns: number): QuantRecord {
  const { bits, group, zeros } = quantFormats[dtype];
  const codeBytes = alignUp((columns * bits) / 8, 16);
  const groups = group === 0 ? 1 : Math.ceil(columns / group);
  return { codeBytes, groups, bytes: alignUp(codeBytes + groups * (bits === 8 || zeros ? 4 : 2), 32) };
}

function alignUp(bytes: number, unit: number): number {
  return Math.ceil(bytes / unit) * unit;
}

/** Bytes of an element as read and write count them: those of quantised tensors are words of their records. */
export function elementBytes(dtype: DType): number {
  return isQuantDType(dtype) ? 4 : dtypeBytes[dtype];
}

/** Bytes of a tensor: of quantised ones, the records of all rows. */
export function shapeBytes(dtype: DType, shape: readonly number[]): number {
  if (!isQuantDType(dtype)) return shape.reduce((bytes, dim) => bytes * dim, dtypeBytes[dtype]);
  return (
    (shape[0] ?? 1) *
    quantRecord(
      dtype,
      shape.slice(1).reduce((product, dim) => product * dim, 1),
    ).bytes
  );
}
