import type { FloatDType } from '../../contract/contract.ts';
import { decodeFloats } from '../../program/float-formats.ts';
import { tensorBytes } from '../../weights/tensor-bytes.ts';
import type { CheckpointTensor } from '../../weights/types.ts';
import { type PackedModule, packedError } from './matrix.ts';

export const scaleDTypes: readonly FloatDType[] = ['f16', 'bf16', 'f32'];

/** Columns of a group and groups of a row; `given` 0: a row is one group. The last group may be shorter. */
export function groupSizes(columns: number, given: number): { readonly group: number; readonly groups: number } {
  const group = given === 0 ? columns : given;
  return { group, groups: Math.ceil(columns / group) };
}

/** Where scales lie: that of a row and a group is at floor(row / blockRows) * perRow + group * perGroup. */
export interface ScalePlaces {
  readonly perRow: number;
  readonly perGroup: number;
  readonly groups: number;
  /** Default 1. */
  readonly blockRows?: number;
}

/** Reads all scales of a matrix; the reader gives those of rows [first, end). Throws ModelFormatError WT_VALUE. */
export async function scaleReader(
  { checkpoint }: PackedModule,
  tensor: CheckpointTensor,
  { perRow, perGroup, groups, blockRows = 1 }: ScalePlaces,
): Promise<(first: number, end: number) => Float32Array> {
  const bytes = await tensorBytes(checkpoint, tensor);
  const raw = tensor.dtype === 'f32' ? new Float32Array(bytes.buffer) : new Uint16Array(bytes.buffer);
  const scales = decodeFloats(tensor.dtype as FloatDType, raw);
  const wrong = scales.findIndex(scale => !Number.isFinite(scale));
  if (wrong >= 0) {
    throw packedError('WT_VALUE', 'a scale is not finite', tensor, {
      found: `${scales[wrong]} at element ${wrong}`,
      expected: 'a finite number',
      advice: 'Download the checkpoint again.',
    });
  }
  return (first, end) => {
    const own = new Float32Array((end - first) * groups);
    for (let row = first; row < end; row++) {
      const from = Math.floor(row / blockRows) * perRow;
      for (let at = 0; at < groups; at++) own[(row - first) * groups + at] = scales[from + at * perGroup]!;
    }
    return own;
  };
}

/** Zero points of rows [first, end). A symmetric matrix has none, and throws ModelFormatError WT_VALUE for one that is not the middle. */
export function zeroPoints(
  { format }: PackedModule,
  tensor: CheckpointTensor,
  groups: number,
  zeroAt: (group: number, row: number) => number,
): (first: number, end: number) => Uint16Array | null {
  const middle = format.codes === 'u4' ? 8 : 128;
  return (first, end) => {
    const zeros = new Uint16Array((end - first) * groups);
    for (let row = first; row < end; row++) {
      for (let at = 0; at < groups; at++) zeros[(row - first) * groups + at] = zeroAt(at, row);
    }
    if (!format.symmetric) return zeros;
    const wrong = zeros.findIndex(zero => zero !== middle);
    if (wrong < 0) return null;
    throw packedError('WT_VALUE', 'a zero point contradicts config.json', tensor, {
      found: `${zeros[wrong]} in row ${first + Math.floor(wrong / groups)}`,
      expected: `${middle} everywhere, since ${format.toldBy} says that codes are symmetric`,
      advice: `Correct sym and checkpoint_format in ${format.toldBy}.`,
    });
  };
}
