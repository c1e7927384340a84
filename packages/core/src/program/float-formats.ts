import type { DType, FloatDType, TypedArray } from '../contract/contract.ts';

/**
 * IEEE half and bfloat16. Conversions to 16 bits round to nearest, ties to even, once: they take a JavaScript number (f64)
 * and do not pass through f32. Overflow gives infinity, as IEEE says; every NaN becomes the quiet NaN of the format.
 */
interface NarrowFormat {
  mantissaBits: number;
  /** Exponent of the smallest normal number. */
  minExponent: number;
  maxExponent: number;
}
const half: NarrowFormat = { mantissaBits: 10, minExponent: -14, maxExponent: 15 };
const bfloat16: NarrowFormat = { mantissaBits: 7, minExponent: -126, maxExponent: 127 };

const f64 = new Float64Array(1);
const f64Words = new Uint32Array(f64.buffer);
const f32 = new Float32Array(1);
const f32Words = new Uint32Array(f32.buffer);
const highWord = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1 ? 1 : 0;

/** Adding and subtracting 2^52 rounds a number below it to an integer, ties to even. */
const ROUND = 2 ** 52;

export function floatToHalf(value: number): number {
  return narrow(value, half);
}

export function floatToBfloat16(value: number): number {
  return narrow(value, bfloat16);
}

export function bfloat16ToFloat(bits: number): number {
  f32Words[0] = bits << 16;
  return f32[0]!;
}

export function halfToFloat(bits: number): number {
  return halfTable()[bits]!;
}

/** Raw elements of `values` in `dtype`: Float32Array for f32, Uint16Array for f16 and bf16. */
export function encodeFloats(dtype: DType, values: Float32Array): Float32Array | Uint16Array {
  if (dtype === 'f32') return values.slice();
  if (!isFloat(dtype)) throw new TypeError(`encodeFloats: found dtype ${dtype}, expected f32, f16 or bf16.`);
  const raw = new Uint16Array(values.length);
  encodeInto(dtype, values, raw);
  return raw;
}

/** The values of raw elements: exact, since f32 holds every f16 and bf16. */
export function decodeFloats(dtype: DType, raw: TypedArray): Float32Array {
  if (!isFloat(dtype)) throw new TypeError(`decodeFloats: found dtype ${dtype}, expected f32, f16 or bf16.`);
  const expected = dtype === 'f32' ? Float32Array : Uint16Array;
  if (!(raw instanceof expected)) {
    throw new TypeError(`decodeFloats: found ${raw.constructor.name} for ${dtype}, expected ${expected.name}.`);
  }
  if (raw instanceof Float32Array) return raw.slice();
  const values = new Float32Array(raw.length);
  decodeInto(dtype, raw as Uint16Array, values);
  return values;
}

/** Values that pass from one format of 16 bits to another stay in the processor's cache in between. */
const PIECE = 8192;
const piece = new Float32Array(PIECE);

/** Writes raw elements of the dtype `from` as raw elements of another to `into`, which has room for them. */
export function convertFloats(from: FloatDType, raw: TypedArray, to: FloatDType, into: TypedArray): void {
  if (raw instanceof Float32Array) encodeInto(to, raw, into);
  else if (into instanceof Float32Array) decodeInto(from, raw as Uint16Array, into);
  else {
    for (let at = 0; at < raw.length; at += PIECE) {
      const some = raw.subarray(at, at + PIECE) as Uint16Array;
      decodeInto(from, some, piece);
      encodeInto(to, piece.subarray(0, some.length), into.subarray(at));
    }
  }
}

function decodeInto(dtype: FloatDType, raw: Uint16Array, values: Float32Array): void {
  if (dtype === 'f16') {
    const table = halfTable();
    for (let i = 0; i < raw.length; i++) values[i] = table[raw[i]!]!;
    return;
  }
  const words = new Uint32Array(values.buffer, values.byteOffset, raw.length);
  for (let i = 0; i < raw.length; i++) words[i] = raw[i]! << 16;
}

/** What `narrow` does, on the bits of f32: many times faster. */
function encodeInto(dtype: FloatDType, values: Float32Array, raw: TypedArray): void {
  const words = new Int32Array(values.buffer, values.byteOffset, values.length);
  if (dtype === 'f32') raw.set(values);
  else if (dtype === 'f16') encodeHalves(words, values, raw);
  else encodeBfloat16s(words, raw);
}

function encodeHalves(words: Int32Array, values: Float32Array, raw: TypedArray): void {
  for (let i = 0; i < words.length; i++) {
    const sign = (words[i]! >>> 16) & 0x8000;
    const magnitude = words[i]! & 0x7fff_ffff;
    // From 65,520 on infinity is nearest, below 2^-14 halves are multiples of 2^-24.
    if (magnitude > 0x7f80_0000) raw[i] = 0x7e00;
    else if (magnitude >= 0x477f_f000) raw[i] = sign | 0x7c00;
    else if (magnitude < 0x3880_0000) raw[i] = sign | (Math.abs(values[i]!) * 2 ** 24 + ROUND - ROUND);
    else raw[i] = sign | ((magnitude - 0x3800_0000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
}

function encodeBfloat16s(words: Int32Array, raw: TypedArray): void {
  for (let i = 0; i < words.length; i++) {
    const sign = (words[i]! >>> 16) & 0x8000;
    const magnitude = words[i]! & 0x7fff_ffff;
    const rounded = (magnitude + 0x7fff + ((magnitude >>> 16) & 1)) >>> 16;
    raw[i] = magnitude > 0x7f80_0000 ? 0x7fc0 : sign | rounded;
  }
}

/** OCP E4M3: rounded to nearest, ties to even, and held at 448, the largest number. */
export function floatToE4m3(value: number): number {
  if (Number.isNaN(value)) return 0x7f;
  f64[0] = value;
  const sign = (f64Words[highWord]! >>> 24) & 0x80;
  const exponent = Math.max(((f64Words[highWord]! >>> 20) & 0x7ff) - 1023, -6);
  if (exponent > 8) return sign | 0x7e;
  const steps = Math.abs(value) * powerOfTwo(3 - exponent);
  return sign | Math.min(((exponent + 6) << 3) + (steps + ROUND - ROUND), 0x7e);
}

let e4m3: Float32Array | undefined;

/** The value of each of the 256 E4M3 bit patterns. Do not write to it. */
export function e4m3Table(): Float32Array {
  e4m3 ??= Float32Array.from({ length: 256 }, (_, bits) => {
    const [sign, exponent, mantissa] = [bits & 0x80 ? -1 : 1, (bits >> 3) & 15, bits & 7];
    if ((bits & 0x7f) === 0x7f) return Number.NaN;
    return sign * (exponent === 0 ? mantissa * 2 ** -9 : (8 + mantissa) * 2 ** (exponent - 10));
  });
  return e4m3;
}

function isFloat(dtype: DType): dtype is FloatDType {
  return dtype === 'f32' || dtype === 'f16' || dtype === 'bf16';
}

let table: Float32Array<ArrayBuffer> | undefined;

/** The value of each of the 65,536 half bit patterns. Made on first use; do not write to it. */
export function halfTable(): Float32Array {
  if (table !== undefined) return table;
  table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) table[bits] = decodeHalf(bits);
  return table;
}

function decodeHalf(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) return mantissa === 0 ? sign * Infinity : NaN;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

function narrow(value: number, format: NarrowFormat): number {
  const { mantissaBits, minExponent, maxExponent } = format;
  f64[0] = value;
  const high = f64Words[highWord]!;
  const sign = (high >>> 16) & 0x8000;
  const infinity = (maxExponent - minExponent + 2) << mantissaBits;
  if (Number.isNaN(value)) return infinity | (1 << (mantissaBits - 1));
  const exponent = Math.max(((high >>> 20) & 0x7ff) - 1023, minExponent);
  if (exponent > maxExponent) return sign | infinity;
  const steps = Math.abs(value) * powerOfTwo(mantissaBits - exponent);
  const rounded = steps + ROUND - ROUND;
  // Subnormals have no implicit bit; a mantissa that rounds up to the next power of two carries into the exponent, and the
  // largest exponent into infinity, by the addition.
  return sign | (((exponent - minExponent) << mantissaBits) + rounded);
}

/** 2^exponent for -1022 <= exponent <= 1023, from its bits. */
function powerOfTwo(exponent: number): number {
  f64Words[highWord] = (exponent + 1023) << 20;
  f64Words[1 - highWord] = 0;
  return f64[0]!;
}
