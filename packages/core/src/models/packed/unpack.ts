import { Q4_ZERO, type QuantDType, quantFormats, quantRecord } from '../../contract/contract.ts';
import { e4m3Table, floatToHalf } from '../../program/float-formats.ts';
import { type PackedMatrix, type PackedRows, packedError } from './matrix.ts';
import type { PackedWeights } from './packed-weights.ts';

/** The dtype of few bits that holds codes, scales and zero points of a matrix as they are; null: there is none. */
export function recordDType({ codes, symmetric }: PackedWeights, matrix: PackedMatrix): QuantDType | null {
  const { columns, group, groupOf } = matrix;
  if (groupOf !== null || codes === 'f8e4m3') return null;
  if (codes === 'i8' || codes === 'u8') return group >= columns && (symmetric || codes === 'i8') ? 'q8' : null;
  const whole = (unit: 32 | 128) => columns % unit === 0 && group % unit === 0;
  if (whole(128)) return symmetric ? 'q4_128' : 'q4_128z';
  if (whole(32)) return symmetric ? 'q4_32' : 'q4_32z';
  return null;
}

/** Rows of a matrix as records (contract/dtypes.ts). Scales of q4 are rounded to f16, which holds those of f16 as they are. */
export function packedRecords(
  format: PackedWeights,
  matrix: PackedMatrix,
  dtype: QuantDType,
  { codes, scales, zeros }: PackedRows,
): Uint8Array {
  const { columns, group } = matrix;
  const { bytes, codeBytes, groups } = quantRecord(dtype, columns);
  const ownGroups = Math.ceil(columns / group);
  const rows = scales.length / ownGroups;
  const words = new Uint32Array((rows * bytes) / 4);
  const rowBytes = codes.length / rows;
  const { group: unit, zeros: paired } = quantFormats[dtype];
  for (let row = 0; row < rows; row++) {
    const [record, scalesAt] = [(row * bytes) / 4, (row * bytes + codeBytes) / 4];
    if (dtype === 'q8') {
      const into = new Uint8Array(words.buffer, row * bytes, columns);
      into.set(codes.subarray(row * rowBytes, row * rowBytes + columns));
      if (format.codes === 'u8') for (let i = 0; i < columns; i++) into[i]! ^= 0x80;
      new Float32Array(words.buffer)[scalesAt] = scales[row]!;
      continue;
    }
    const from = new Uint32Array(codes.buffer, row * rowBytes, columns / 8);
    for (let word = 0; word < from.length; word++) words[record + word] = pairsInHalves(from[word]!);
    for (let at = 0; at < groups; at++) {
      const own = row * ownGroups + Math.floor((at * unit) / group);
      const scale = halfScale(matrix, scales[own]!);
      if (paired) words[scalesAt + at] = scale | (floatToHalf(zeros![own]!) << 16);
      else words[scalesAt + (at >> 1)]! |= scale << (16 * (at & 1));
    }
  }
  return new Uint8Array(words.buffer);
}

/** Codes of columns 0, 1, 2, ... from the lowest bits on become those of even columns in the low half and of odd ones in the high half. */
function pairsInHalves(word: number): number {
  return joined(word & 0x0f0f0f0f) | (joined((word >>> 4) & 0x0f0f0f0f) << 16);
}

/** The low halves of four bytes as 16 bits. */
function joined(nibbles: number): number {
  const pairs = (nibbles | (nibbles >>> 4)) & 0x00ff00ff;
  return (pairs | (pairs >>> 8)) & 0xffff;
}

function halfScale({ codes }: PackedMatrix, scale: number): number {
  const half = floatToHalf(scale);
  if ((half & 0x7c00) !== 0x7c00) return half;
  throw packedError('WT_VALUE', 'a scale is beyond f16', codes, { found: `${scale}`, expected: 'at most 65504' });
}

/** Values of rows of a matrix in f32, each rounded once. */
export function packedValues(
  format: PackedWeights,
  matrix: PackedMatrix,
  { codes, scales, zeros }: PackedRows,
): Float32Array<ArrayBuffer> {
  const { columns, group } = matrix;
  const groups = Math.ceil(columns / group);
  const rows = scales.length / groups;
  const rowBytes = codes.length / rows;
  const groupOf = matrix.groupOf ?? Int32Array.from({ length: columns }, (_, column) => Math.floor(column / group));
  const values = new Float32Array(rows * columns);
  const { table, zero } = meanings[format.codes];
  const zeroOf = zeros ?? new Uint16Array(scales.length).fill(zero);
  const [perByte, mask] = format.codes === 'u4' ? [1, 15] : [0, 255];
  let sum = 0;
  for (let row = 0; row < rows; row++) {
    const [from, to, scalesAt] = [row * rowBytes, row * columns, row * groups];
    for (let column = 0; column < columns; column++) {
      const code = table[(codes[from + (column >> perByte)]! >> (4 * (column & perByte))) & mask]!;
      const at = scalesAt + groupOf[column]!;
      const value = scales[at]! * (code - zeroOf[at]!);
      values[to + column] = value;
      sum += value;
    }
  }
  // No sum of so few f32 is beyond f64: this one is finite if all of them are.
  if (Number.isFinite(sum)) return values;
  const wrong = values.findIndex(value => !Number.isFinite(value));
  throw packedError('WT_VALUE', 'a weight is not a number', matrix.codes, {
    found: `${values[wrong]} in column ${wrong % columns}`,
    expected: 'finite weights',
    advice: 'Download the checkpoint again.',
  });
}

/** What each code counts, and the zero point where there is no other. */
const meanings = {
  u4: { table: Float32Array.from({ length: 16 }, (_, code) => code), zero: Q4_ZERO },
  u8: { table: Float32Array.from({ length: 256 }, (_, code) => code), zero: 128 },
  i8: { table: Float32Array.from({ length: 256 }, (_, code) => (code << 24) >> 24), zero: 0 },
  f8e4m3: { table: e4m3Table(), zero: 0 },
} as const;
