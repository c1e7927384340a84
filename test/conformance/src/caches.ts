import { type CacheDType, cacheCodes, isCacheDType, type TypedArray } from '@quire/core/contract';
import { decodeFloats, e4m3Table, encodeFloats, floatToE4m3, type ProgramBuilder } from '@quire/core/program';
import { compareValues } from './checks.ts';
import { floats, type Random } from './random.ts';
import type { CaseInputs, FloatType, OutputCheck } from './types.ts';

/** What a KV cache may be stored in. */
export type CacheType = FloatType | CacheDType;

/** Fields of an op that name its caches. */
export interface CacheFields {
  kCache: string;
  vCache: string;
  kScales?: string;
  vScales?: string;
}

/** Declares K and V caches [blocks, kvHeads, blockSize, headDim], and scales where they hold codes. */
export function declareCaches(builder: ProgramBuilder, kv: CacheType, shape: readonly number[]): CacheFields {
  for (const name of ['kCache', 'vCache']) builder.external(name, kv, shape);
  if (!isCacheDType(kv)) return { kCache: 'kCache', vCache: 'vCache' };
  for (const name of ['kScales', 'vScales']) builder.external(name, 'f32', shape.slice(0, -1));
  return { kCache: 'kCache', vCache: 'vCache', kScales: 'kScales', vScales: 'vScales' };
}

/** Raw caches of values, vectors of headDim one after the other. */
export function cacheInputs(kv: CacheType, keys: Float32Array, values: Float32Array, headDim: number): CaseInputs {
  if (!isCacheDType(kv)) return { kCache: encodeFloats(kv, keys), vCache: encodeFloats(kv, values) };
  const [k, v] = [keys, values].map(part => encode(kv, part, headDim)) as [Coded, Coded];
  return { kCache: k.codes, vCache: v.codes, kScales: k.scales, vScales: v.scales };
}

export function randomCaches(random: Random, kv: CacheType, count: number, headDim: number): CaseInputs {
  return cacheInputs(kv, floats(random, count), floats(random, count), headDim);
}

interface Coded {
  codes: Uint8Array;
  scales: Float32Array;
}

/** What is not finite makes a scale that is not either, as a stale slot may have. */
function encode(kv: CacheDType, values: Float32Array, headDim: number): Coded {
  const codes = new Uint8Array(values.length);
  const scales = new Float32Array(values.length / headDim);
  for (let row = 0; row < scales.length; row++) {
    const part = values.subarray(row * headDim, (row + 1) * headDim);
    scales[row] = part.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0) / cacheCodes[kv];
    part.forEach((value, i) => {
      const code = scales[row]! > 0 ? value / scales[row]! : 0;
      codes[row * headDim + i] = kv === 'i8' ? Math.round(code) & 0xff : floatToE4m3(code);
    });
  }
  return { codes, scales };
}

/** Codes as numbers, without their scales. */
export function cacheCodeValues(kv: CacheDType, raw: TypedArray): Float32Array {
  const table = e4m3Table();
  return Float32Array.from(raw, code => (kv === 'i8' ? (code << 24) >> 24 : table[code]!));
}

/** The values of a cache, of vectors of headDim. */
export function cacheValues(
  kv: CacheType,
  raw: TypedArray,
  scales: TypedArray | undefined,
  headDim: number,
): Float32Array {
  if (!isCacheDType(kv)) return decodeFloats(kv, raw);
  return cacheCodeValues(kv, raw).map((code, i) => code * scales![Math.floor(i / headDim)]!);
}

/** Checks of caches that hold codes, and of their scales. `units`: last places that a code may be off, beside 0. */
export function codeChecks(kv: CacheDType, units: number, scaleError: number): Record<string, OutputCheck> {
  const codes: OutputCheck = {
    reason: `a code is rounded to nearest from a quotient that may be off by some of its last places: ${units} units in the last place`,
    compare({ expected, actual }) {
      const [a, b] = [cacheCodeValues(kv, expected), cacheCodeValues(kv, actual)];
      return compareValues(a, b, i => units * (kv === 'i8' ? 1 : Math.max(Math.abs(a[i]!) / 8, 2 ** -9)));
    },
  };
  const scales: OutputCheck = {
    reason: `a quotient in f32, relative ${scaleError}`,
    compare: ({ expected, actual }) => compareValues(expected, actual, i => scaleError * Math.abs(expected[i]!)),
  };
  return { kCache: codes, vCache: codes, kScales: scales, vScales: scales };
}
