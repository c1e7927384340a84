import { tensorBytes } from '../../weights/tensor-bytes.ts';
import type { CheckpointTensor } from '../../weights/types.ts';
import { columnGroups, type PackedMatrix, type PackedModule, packedError } from './matrix.ts';
import { groupSizes, scaleDTypes, scaleReader, zeroPoints } from './scales.ts';

/**
 * compressed-tensors' pack-quantized: weight_packed [rows, columns bits / 32] has neighbouring columns in a word, from the lowest bits on,
 * as unsigned codes; weight_zero_point [rows bits / 32, groups] has neighbouring rows; weight_scale [rows, groups]; weight_g_idx [columns];
 * weight_shape, two numbers.
 */
export async function rowsMatrix(module: PackedModule): Promise<PackedMatrix> {
  const { format } = module;
  const codes = module.get('weight_packed', ['i32', 'u32']);
  const [rows, words] = module.matrixShape(codes);
  const bits = format.codes === 'u4' ? 4 : 8;
  const perWord = 32 / bits;
  const columns = await statedColumns(module, rows, words * perWord, perWord);
  const { group, groups } = groupSizes(columns, format.group);
  const scales = module.get('weight_scale', scaleDTypes);
  module.expectShape(scales, [rows, groups], `${rows} rows of ${groups} groups`);
  const zeros = format.symmetric ? null : module.get('weight_zero_point', ['i32', 'u32']);
  if (zeros) module.expectShape(zeros, [Math.ceil(rows / perWord), groups], `${rows} rows of ${groups} groups`);
  const indices = module.find('weight_g_idx') && module.get('weight_g_idx', ['i32', 'i64']);
  const groupOf = indices ? await columnGroups(module, indices, { columns, group, groups }) : null;
  const open = async () => {
    const scaleRows = await scaleReader(module, scales, { perRow: groups, perGroup: 1, groups });
    const packedZeros = zeros && (await module.words(zeros));
    const zeroRows =
      packedZeros &&
      zeroPoints(module, zeros!, groups, (at, row) => {
        const word = packedZeros[Math.floor(row / perWord) * groups + at]!;
        return (word >>> (bits * (row % perWord))) & (2 ** bits - 1);
      });
    return async (first: number, end: number) => ({
      codes: await codeRows(module, codes, first, end),
      scales: scaleRows(first, end),
      zeros: zeroRows?.(first, end) ?? null,
    });
  };
  return { codes, rows, columns, group, groupOf, open };
}

/** The columns that weight_shape tells: all that are in the words, but for the last word. */
async function statedColumns(module: PackedModule, rows: number, most: number, perWord: number): Promise<number> {
  const shape = module.get('weight_shape', ['i64', 'i32']);
  module.expectShape(shape, [2], 'rows and columns');
  const { buffer } = await tensorBytes(module.checkpoint, shape);
  const [height, width] = shape.dtype === 'i64' ? [...new BigInt64Array(buffer)].map(Number) : new Int32Array(buffer);
  if (height === rows && width! <= most && width! > most - perWord) return width!;
  throw packedError('WT_VALUE', 'weight_shape and weight_packed do not fit each other', shape, {
    found: `[${height}, ${width}]`,
    expected: `[${rows}, ${most}], from the shape of weight_packed`,
  });
}

/**
 * One byte for each element, weight [rows, columns], of int8 or E4M3; weight_scale, or weight_scale_inv for blocks, is one number, one for
 * each row [rows, 1], or one for each block [row blocks, column blocks]. What activations are scaled by is not read.
 */
export async function bytesMatrix(module: PackedModule): Promise<PackedMatrix> {
  const { format } = module;
  const codes = module.get('weight', [format.codes as 'i8' | 'f8e4m3']);
  const [rows, columns] = module.matrixShape(codes);
  const inBlocks = format.blockRows > 0;
  const { group, groups } = groupSizes(columns, format.group);
  const scales = module.get(
    inBlocks && module.find('weight_scale') === undefined ? 'weight_scale_inv' : 'weight_scale',
    scaleDTypes,
  );
  const one = !inBlocks && scales.shape.every(size => size === 1);
  if (inBlocks) {
    const blocks = Math.ceil(rows / format.blockRows);
    module.expectShape(scales, [blocks, groups], `blocks of ${format.blockRows} rows and ${group} columns`);
  } else if (!one) {
    const flat = scales.shape.length === 1;
    module.expectShape(scales, flat ? [rows] : [rows, 1], 'one for each row');
  }
  const places = { perRow: one ? 0 : groups, perGroup: 1, groups, blockRows: Math.max(format.blockRows, 1) };
  const open = async () => {
    const scaleRows = await scaleReader(module, scales, places);
    return async (first: number, end: number) => ({
      codes: await codeRows(module, codes, first, end),
      scales: scaleRows(first, end),
      zeros: null,
    });
  };
  return { codes, rows, columns, group, groupOf: null, open };
}

/** Codes of rows that lie one after the other. */
function codeRows({ checkpoint }: PackedModule, codes: CheckpointTensor, first: number, end: number) {
  const rowBytes = (codes.end - codes.start) / codes.shape[0]!;
  const part = { ...codes, start: codes.start + first * rowBytes, end: codes.start + end * rowBytes };
  return tensorBytes(checkpoint, part);
}
