// One element of a matrix whose dtype is known to the host, by row and column: for rows that kernels of four along K cannot take,
// and for embedding rows. The kernel declares `weight` as array<u32>.
// uses: element
const DTYPE_Q8 = 3u;
const DTYPE_Q4_32Z = 6u;

fn matrix_element(dtype: u32, row: u32, column: u32, columns: u32) -> f32 {
  if (dtype > DTYPE_Q8) { return q4_element(dtype, row, column, columns); }
  if (dtype == DTYPE_Q8) {
    let scale_at = (columns + 15u) / 16u * 4u;
    let record = row * ((scale_at + 8u) / 8u * 8u);
    let code = extractBits(bitcast<i32>(weight[record + column / 4u]), 8u * (column & 3u), 8u);
    return bitcast<f32>(weight[record + scale_at]) * f32(code);
  }
  let index = row * columns + column;
  return element_value(dtype, weight[element_word(dtype, index)], index);
}

fn q4_element(dtype: u32, row: u32, column: u32, columns: u32) -> f32 {
  let zeros = dtype >= DTYPE_Q4_32Z;
  // The codes of groups of 128 are odd.
  let group_size = select(32u, 128u, (dtype & 1u) == 1u);
  let groups = columns / group_size;
  let scales_at = columns / 8u;
  let record = row * ((scales_at + select((groups + 1u) / 2u, groups, zeros) + 7u) / 8u * 8u);
  let code = f32(extractBits(weight[record + column / 8u], 16u * (column & 1u) + 2u * (column & 6u), 4u));
  let group = column / group_size;
  let pair = unpack2x16float(weight[record + scales_at + select(group / 2u, group, zeros)]);
  if (zeros) { return pair.x * (code - pair.y); }
  return select(pair.x, pair.y, (group & 1u) == 1u) * (code - 8.0);
}
