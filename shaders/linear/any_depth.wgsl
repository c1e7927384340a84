// A linear layer whose depth is not a multiple of 4, so that rows of 16-bit weights may begin inside a word, and rows of x do:
// out = activation(x weight^T + bias) + residual.
//
// binding   dtype, shape                            what
// x         f32 [rows, depth]
// weight    any dtype [columns, depth]
// out       f32 [rows, width]                       columns from out_column on
// residual  f32 [rows, width]                       read in mode RESIDUAL_READ; any buffer otherwise
// bias      the dtype of weight [columns]           any buffer when bias_dtype is NONE
// params
// grid: one group per row and 4 columns. Lanes go along depth; the order of a sum depends on depth only.
// uses: sizes, linear_output, matrix_element
// fragments: lanes = lanes_one | lanes_subgroup | lanes_workgroup
struct Params {
  rows: u32,
  columns: u32,
  depth: u32,
  width: u32,
  out_column: u32,
  bias_dtype: u32,
  activation: u32,
  residual_mode: u32,
  weight_dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> residual: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;

const PUBLISHED = 1u;

fn weight_at(column: u32, k: u32) -> f32 {
  return matrix_element(params.weight_dtype, min(column, params.columns - 1u), k, params.depth);
}

fn run(group: u32, lane: u32) {
  let tiles = (params.columns + 3u) / 4u;
  let row = group / tiles;
  if (row >= resolve_size(params.rows)) { return; }
  let first = (group % tiles) * 4u;
  var sums = vec4f();
  for (var k = lane; k < params.depth; k += LANES) {
    let column = vec4f(weight_at(first, k), weight_at(first + 1u, k), weight_at(first + 2u, k), weight_at(first + 3u, k));
    sums += x[row * params.depth + k] * column;
  }
  sums = lane_sum4(sums);
  if (lane == 0u) { store_columns(row, first, sums); }
}
