// Rows of a linear layer whose lanes are columns (lib/columns.wgsl): out = activation(x weight^T + bias) + residual.
//
// binding      dtype, shape                what
// x            f32 [rows, depth]
// weight       any of the weights_* fragments [columns, depth]
// out          f32 [rows, width]           columns from out_column on
// residual     f32 [rows, width]           read in mode RESIDUAL_READ; any buffer otherwise
// bias         f32, f16 or bf16 [columns]  any buffer when bias_dtype is NONE
// norm_weight  f32, f16 or bf16 [depth]    with input_normed; any buffer otherwise
// params
// grid: one group per TILE_ROWS rows and PER_LANE LANES columns. depth is a multiple of 4.
// uses: sizes, columns, linear_output
// fragments: tile = columns_row | columns_rows
// fragments: weights = weights_f32 | weights_f16 | weights_bf16 | weights_q8 | weights_q4 | weights_q4_zeros
// fragments: input = input_plain | input_normed
struct Params {
  rows: u32,
  columns: u32,
  depth: u32,
  width: u32,
  out_column: u32,
  bias_dtype: u32,
  activation: u32,
  residual_mode: u32,
  eps: f32,
  norm_dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> residual: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<u32>;
@group(0) @binding(5) var<storage, read> norm_weight: array<u32>;
@group(0) @binding(6) var<uniform> params: Params;

const PUBLISHED = 1u;

const OUTPUTS = PER_LANE;

/// Of columns beyond the last, which are not stored, that of the last.
fn weights_of(first: u32) -> vec4u {
  return min(vec4u(first) + LANES * vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u));
}

fn store_lane(row: u32, first: u32, sums: vec4f) {
  for (var i = 0u; i < OUTPUTS; i++) {
    let column = first + i * LANES;
    if (column < params.columns) { store_column(row, column, sums[i]); }
  }
}
