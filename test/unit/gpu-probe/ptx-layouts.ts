/**
 * Which matrix element each lane's registers hold, as the PTX ISA states it for mma.m16n8k16 with 16-bit inputs, ldmatrix.m8n8
 * and movmatrix.m8n8 ("Matrix Fragments"). Written from the document, apart from the emulator and from the probe.
 *
 * A slot is one element of one lane: lane * elements per lane + i, where i counts from register 0, low half first.
 */

export interface Position {
  row: number;
  column: number;
}

/** A, 16 x 16, 8 elements per lane. */
export function positionOfA(slot: number): Position {
  const lane = slot >> 3;
  const i = slot & 7;
  const groupId = lane >> 2;
  const threadInGroup = lane % 4;
  const row = i < 2 || (4 <= i && i < 6) ? groupId : groupId + 8;
  const column = i < 4 ? threadInGroup * 2 + (i & 1) : threadInGroup * 2 + (i & 1) + 8;
  return { row, column };
}

/** B, 16 x 8, 4 elements per lane. */
export function positionOfB(slot: number): Position {
  const lane = slot >> 2;
  const i = slot & 3;
  const threadInGroup = lane % 4;
  const row = i < 2 ? threadInGroup * 2 + (i & 1) : threadInGroup * 2 + (i & 1) + 8;
  return { row, column: lane >> 2 };
}

/** C and D, 16 x 8, 4 elements of f32 per lane. */
export function positionOfD(slot: number): Position {
  const lane = slot >> 2;
  const i = slot & 3;
  const groupId = lane >> 2;
  return { row: i < 2 ? groupId : groupId + 8, column: (lane % 4) * 2 + (i & 1) };
}

/** The slot whose position satisfies the test. */
export function slotWhere(count: number, positionOf: (slot: number) => Position, row: number, column: number): number {
  for (let slot = 0; slot < count; slot++) {
    const position = positionOf(slot);
    if (position.row === row && position.column === column) return slot;
  }
  throw new Error(`no slot holds row ${row}, column ${column}`);
}

/**
 * ldmatrix.x4 on four 8 x 8 matrices whose elements are 0, 1, 2 ... in memory; lane i passes the address of row rows[i].
 * Returns register r of lane l at 4 l + r.
 */
export function ldmatrixOfIndices(rows: readonly number[], transpose: boolean): number[] {
  const element = (matrix: number, row: number, column: number) => rows[8 * matrix + row]! * 8 + column;
  return Array.from({ length: 128 }, (_, i) => {
    const lane = i >> 2;
    const matrix = i & 3;
    const row = lane >> 2;
    const column = (lane % 4) * 2;
    const low = transpose ? element(matrix, column, row) : element(matrix, row, column);
    const high = transpose ? element(matrix, column + 1, row) : element(matrix, row, column + 1);
    return low + high * 65536;
  });
}

/** movmatrix.trans of the matrix whose lane l holds 2 l and 2 l + 1, so that row r, column c is 8 r + c. */
export function transposeOfIndices(): number[] {
  return Array.from({ length: 32 }, (_, lane) => {
    const row = lane >> 2;
    const column = (lane % 4) * 2;
    return 8 * column + row + (8 * (column + 1) + row) * 65536;
  });
}
