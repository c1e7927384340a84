import { Q4_ZERO, type QuantDType, quantFormats, quantRecord } from '../contract/contract.ts';
import { floatToHalf, halfTable } from './float-formats.ts';

/** Adding and subtracting 1.5 2^52 rounds a number of smaller magnitude to an integer, ties to even. */
const ROUND = 1.5 * 2 ** 52;

/** Values that have no records: NaN, infinite, or too large for the scale of their group. */
export class QuantizeError extends RangeError {
  override readonly name = 'QuantizeError';
}

/**
 * Records of rows of `columns` values, each value rounded to the nearest code. Scales: q8, largest magnitude / 127; q4, the value
 * of largest magnitude is code 0; q4 with zeros, (largest - smallest) / 15 over a range that holds 0. Throws QuantizeError.
 */
export function quantizeRows(dtype: QuantDType, values: Float32Array, columns: number): Uint32Array<ArrayBuffer> {
  const { bits, group, zeros } = quantFormats[dtype];
  const words = quantRecord(dtype, columns).bytes / 4;
  const rows = values.length / columns;
  const records = new Uint32Array(rows * words);
  for (let row = 0; row < rows; row++) {
    const from = values.subarray(row * columns, (row + 1) * columns);
    const into = records.subarray(row * words, (row + 1) * words);
    if (bits === 8) quantizeRow8(from, into);
    else quantizeRow4(from, into, group, zeros);
  }
  return records;
}

function quantizeRow8(values: Float32Array, record: Uint32Array<ArrayBuffer>): void {
  let largest = 0;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, Math.abs(values[i]!));
  const scale = Math.fround(largest / 127);
  if (!Number.isFinite(scale)) throw unfit(largest);
  new Float32Array(record.buffer, record.byteOffset)[4 * Math.ceil(values.length / 16)] = scale;
  const inverse = scale === 0 ? 0 : 1 / scale;
  const codes = new Int8Array(record.buffer, record.byteOffset, values.length);
  // The largest may be a rounding above 127 scales.
  for (let i = 0; i < values.length; i++)
    codes[i] = Math.min(Math.max(values[i]! * inverse + ROUND - ROUND, -127), 127);
}

function quantizeRow4(values: Float32Array, record: Uint32Array, group: number, zeros: boolean): void {
  const scalesAt = 4 * Math.ceil(values.length / 32);
  for (let first = 0; first < values.length; first += group) {
    let [least, most] = [0, 0];
    for (let i = first; i < first + group; i++) {
      const value = values[i]!;
      if (!(Math.abs(value) < Infinity)) throw unfit(value);
      if (value < least) least = value;
      if (value > most) most = value;
    }
    const wanted = zeros ? (most - least) / 15 : (most > -least ? most : least) / -Q4_ZERO;
    const bits = floatToHalf(wanted);
    const scale = halfTable()[bits]!;
    if (!Number.isFinite(scale)) throw unfit(wanted);
    const inverse = scale === 0 ? 0 : 1 / scale;
    const zero = zeros ? Math.min(Math.max(-least * inverse + ROUND - ROUND, 0), 15) : Q4_ZERO;
    const at = first / group;
    if (zeros) record[scalesAt + at] = bits | (floatToHalf(zero) << 16);
    else record[scalesAt + (at >> 1)]! |= bits << (16 * (at & 1));
    for (let i = first; i < first + group; i++) {
      const code = Math.min(Math.max(values[i]! * inverse + ROUND - ROUND + zero, 0), 15);
      record[i >> 3]! |= code << shiftOf(i);
    }
  }
}

/** Bit of a code in its word. */
function shiftOf(column: number): number {
  return 16 * (column & 1) + 2 * (column & 6);
}

/** into[at + i] = value `start + i` of a quantised tensor of rows of `columns` values, in f32. */
export function dequantize(
  dtype: QuantDType,
  words: Uint32Array,
  columns: number,
  start: number,
  count: number,
  into: Float32Array | Float64Array,
  at = 0,
): void {
  const { bits, group, zeros } = quantFormats[dtype];
  const { codeBytes, bytes } = quantRecord(dtype, columns);
  const table = halfTable();
  const floats = new Float32Array(words.buffer, words.byteOffset, words.length);
  for (let i = 0; i < count; i++) {
    const [row, column] = [Math.floor((start + i) / columns), (start + i) % columns];
    const record = (row * bytes) / 4;
    const scales = record + codeBytes / 4;
    if (bits === 8) {
      const code = (words[record + (column >> 2)]! << (24 - 8 * (column & 3))) >> 24;
      into[at + i] = Math.fround(floats[scales]! * code);
      continue;
    }
    const g = Math.floor(column / group);
    const code = (words[record + (column >> 3)]! >> shiftOf(column)) & 15;
    const pair = words[scales + (zeros ? g : g >> 1)]!;
    const zero = zeros ? table[pair >>> 16]! : Q4_ZERO;
    into[at + i] = table[(zeros ? pair : pair >>> (16 * (g & 1))) & 0xffff]! * (code - zero);
  }
}

function unfit(value: number): QuantizeError {
  return new QuantizeError(`found ${value}, expected finite weights within the range of their scale`);
}
