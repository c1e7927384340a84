import {
  isQuantDType,
  type QuantDType,
  quantFormats,
  quantRecord,
  type TypedArray,
  type WeightDType,
} from '@quire/core/contract';
import { decodeFloats, dequantize, encodeFloats, floatToHalf } from '@quire/core/program';
import { floats, type Random } from './random.ts';

/** Raw data of a weight [rows, columns]: normal values, or records with codes and scales of every kind. */
export function matrix(random: Random, dtype: WeightDType, rows: number, columns: number): TypedArray {
  return isQuantDType(dtype)
    ? records(random, dtype, rows, columns)
    : encodeFloats(dtype, floats(random, rows * columns));
}

/** The values of a weight in f32. */
export function matrixValues(dtype: WeightDType, raw: TypedArray, columns: number): Float32Array {
  if (!isQuantDType(dtype)) return decodeFloats(dtype, raw);
  const rows = (raw.length * 4) / quantRecord(dtype, columns).bytes;
  const values = new Float32Array(rows * columns);
  dequantize(dtype, raw as Uint32Array, columns, 0, values.length, values);
  return values;
}

/** Bytes of every value, also where they fill up: what fills must not matter. */
function records(random: Random, dtype: QuantDType, rows: number, columns: number): Uint32Array {
  const { bits, zeros } = quantFormats[dtype];
  const { codeBytes, groups, bytes } = quantRecord(dtype, columns);
  const words = Uint32Array.from({ length: (rows * bytes) / 4 }, () => random.word());
  const scales = new Float32Array(words.buffer);
  const halves = new Uint16Array(words.buffer);
  for (let row = 0; row < rows; row++) {
    const at = row * bytes + codeBytes;
    if (bits === 8) scales[at / 4] = scale(random) / 127;
    else {
      for (let g = 0; g < groups; g++) {
        halves[at / 2 + (zeros ? 2 * g : g)] = floatToHalf(scale(random) / 8);
        if (zeros) halves[at / 2 + 2 * g + 1] = floatToHalf(random.integer(0, 17));
      }
    }
  }
  return words;
}

/** One in eight is 0, negative, so small that f16 makes it subnormal, or much larger than its neighbours. */
function scale(random: Random): number {
  const usual = 0.5 + random.uniform();
  switch (random.integer(0, 32)) {
    case 0:
      return 0;
    case 1:
      return -usual;
    case 2:
      return usual * 2 ** -14;
    case 3:
      return usual * 64;
    default:
      return usual;
  }
}
