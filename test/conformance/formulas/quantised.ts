import type { QuantDType } from '@quire/core/contract';
import { halfToFloat } from '@quire/core/program';

/** Values of records, byte by byte as the table of dtypes.ts says. */
export function recordValues(dtype: QuantDType, words: Uint32Array, [rows, columns]: readonly number[]): number[] {
  const bytes = new DataView(words.buffer, words.byteOffset, words.byteLength);
  const stride = bytes.byteLength / rows!;
  const half = (at: number) => halfToFloat(bytes.getUint16(at, true));
  return Array.from({ length: rows! * columns! }, (_, i) => {
    const [start, column] = [Math.floor(i / columns!) * stride, i % columns!];
    const scales = start + 16 * Math.ceil(columns! / (dtype === 'q8' ? 16 : 32));
    if (dtype === 'q8') return Math.fround(bytes.getInt8(start + column) * bytes.getFloat32(scales, true));
    const nibble = ((column % 8) >> 1) + 4 * (column % 2);
    const byte = bytes.getUint8(start + 4 * (column >> 3) + (nibble >> 1));
    const code = nibble % 2 === 0 ? byte % 16 : byte >> 4;
    const group = Math.floor(column / (dtype.startsWith('q4_32') ? 32 : 128));
    if (!dtype.endsWith('z')) return half(scales + 2 * group) * (code - 8);
    return half(scales + 4 * group) * (code - half(scales + 4 * group + 2));
  });
}
