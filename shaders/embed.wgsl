// out[t] = table[ids[t] + offset - firstRow] where that row is in the table; other rows of out stay as they are.
//
// binding  dtype, shape                         what
// ids      u32 [tokens]
// weight   any dtype [table_rows, width]   the table
// out      f32 [tokens, width]
// params   shift = offset - firstRow; rows out of the table, below it too, are beyond table_rows as u32
// grid: one invocation per element of out.
// uses: sizes, elements, matrix_element
struct Params {
  rows: u32,
  width: u32,
  table_rows: u32,
  shift: i32,
  dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> ids: array<u32>;
@group(0) @binding(1) var<storage, read> weight: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn element_count() -> u32 { return resolve_size(params.rows) * params.width; }

fn run_element(index: u32) {
  let row = ids[index / params.width] + u32(params.shift);
  if (row >= params.table_rows) { return; }
  out[index] = matrix_element(params.dtype, row, index % params.width, params.width);
}
