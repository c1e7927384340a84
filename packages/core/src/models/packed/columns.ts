import { columnGroups, type PackedMatrix, type PackedModule, packedError } from './matrix.ts';
import { groupSizes, scaleDTypes, scaleReader, zeroPoints } from './scales.ts';

/**
 * GPTQ (Frantar et al. 2022): qweight [columns bits / 32, rows] has the codes of neighbouring columns of a row in a word, from the
 * lowest bits on; qzeros [groups, rows bits / 32] has those of neighbouring rows, less one in the first format; scales [groups, rows];
 * g_idx [columns] is the group of each column, where columns were quantised in the order of their activations.
 */
export async function gptqMatrix(module: PackedModule): Promise<PackedMatrix> {
  const { format } = module;
  const codes = module.get('qweight', ['i32', 'u32']);
  const [words, rows] = module.matrixShape(codes);
  const bits = format.codes === 'u4' ? 4 : 8;
  const perWord = 32 / bits;
  const columns = words * perWord;
  const { group, groups } = groupSizes(columns, format.group);
  const zeros = module.get('qzeros', ['i32', 'u32']);
  module.expectShape(zeros, [groups, Math.ceil(rows / perWord)], `${groups} groups of ${rows} rows`);
  const scales = module.get('scales', scaleDTypes);
  module.expectShape(scales, [groups, rows], `${groups} groups of ${rows} rows`);
  const indices = module.find('g_idx') && module.get('g_idx', ['i32', 'i64']);
  const groupOf = indices ? await columnGroups(module, indices, { columns, group, groups }) : null;
  const open = async () => {
    const scaleRows = await scaleReader(module, scales, { perRow: 1, perGroup: rows, groups });
    const [packed, packedZeros] = [await module.words(codes), await module.words(zeros)];
    const zeroWords = Math.ceil(rows / perWord);
    const zeroRows = zeroPoints(module, zeros, groups, (at, row) => {
      const word = packedZeros[at * zeroWords + Math.floor(row / perWord)]!;
      return ((word >>> (bits * (row % perWord))) & (2 ** bits - 1)) + format.zeroOffset;
    });
    return async (first: number, end: number) => {
      const own = new Uint32Array((end - first) * words);
      for (let word = 0; word < words; word++) {
        for (let row = first; row < end; row++) own[(row - first) * words + word] = packed[word * rows + row]!;
      }
      return { codes: new Uint8Array(own.buffer), scales: scaleRows(first, end), zeros: zeroRows(first, end) };
    };
  };
  return { codes, rows, columns, group, groupOf, open };
}

/** Where in a word of AWQ's the code of row 8 i + j is, in units of 4 bits: its kernels take the rows of a word in another order. */
const awqPlaces = [0, 4, 1, 5, 2, 6, 3, 7] as const;

/**
 * AWQ's GEMM format (Lin et al. 2023): qweight [columns, rows / 8] and qzeros [groups, rows / 8] have eight rows in a word, in the
 * order of `awqPlaces`; scales [groups, rows].
 */
export async function awqMatrix(module: PackedModule): Promise<PackedMatrix> {
  const codes = module.get('qweight', ['i32', 'u32']);
  const [columns, words] = module.matrixShape(codes);
  const rows = 8 * words;
  if (columns % 8 !== 0) {
    throw packedError('WT_SHAPE', 'the codes of a matrix have another shape', codes, {
      found: `[${codes.shape.join(', ')}]`,
      expected: 'a multiple of 8 columns',
    });
  }
  const { group, groups } = groupSizes(columns, module.format.group);
  const zeros = module.get('qzeros', ['i32', 'u32']);
  module.expectShape(zeros, [groups, words], `${groups} groups of ${rows} rows`);
  const scales = module.get('scales', scaleDTypes);
  module.expectShape(scales, [groups, rows], `${groups} groups of ${rows} rows`);
  const open = async () => {
    const scaleRows = await scaleReader(module, scales, { perRow: 1, perGroup: rows, groups });
    const [packed, packedZeros] = [await module.words(codes), await module.words(zeros)];
    const codeAt = (from: Uint32Array, at: number, row: number) =>
      (from[at * words + (row >> 3)]! >>> (4 * awqPlaces[row & 7]!)) & 15;
    const zeroRows = zeroPoints(module, zeros, groups, (at, row) => codeAt(packedZeros, at, row));
    return async (first: number, end: number) => {
      const own = new Uint32Array(((end - first) * columns) / 8);
      for (let column = 0; column < columns; column += 8) {
        for (let row = first; row < end; row++) {
          const shift = 4 * awqPlaces[row & 7]!;
          let from = column * words + (row >> 3);
          let word = 0;
          for (let i = 0; i < 32; i += 4, from += words) word |= ((packed[from]! >>> shift) & 15) << i;
          own[((row - first) * columns + column) >> 3] = word;
        }
      }
      return { codes: new Uint8Array(own.buffer), scales: scaleRows(first, end), zeros: zeroRows(first, end) };
    };
  };
  return { codes, rows, columns, group, groupOf: null, open };
}
