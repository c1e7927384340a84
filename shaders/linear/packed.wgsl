// Rows of a linear layer over weights in few bits, as sums of integers (lib/packed.wgsl): out = activation(x weight^T + bias) + residual.
//
// binding      dtype, shape                what
// x            f32 [rows, depth]
// weight       q8 or q4 [columns, depth]
// out          f32 [rows, width]           columns from out_column on
// residual     f32 [rows, width]           read in mode RESIDUAL_READ; any buffer otherwise
// bias         f32, f16 or bf16 [columns]  any buffer when bias_dtype is NONE
// norm_weight  f32, f16 or bf16 [depth]    with input_normed; any buffer otherwise
// params
// grid: one group per TILE_ROWS rows and 8 columns. depth is a multiple of 32.
// uses: sizes, packed, linear_output
// fragments: lanes = lanes_subgroup | lanes_workgroup
// fragments: weights = weights_q8 | weights_q4 | weights_q4_zeros
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

const OUTPUTS = 8u;

/// Columns beyond the last repeat it, and are not stored.
fn weights_of(first: u32) -> array<vec4u, 2> {
  let last = vec4u(params.columns - 1u);
  return array<vec4u, 2>(min(first + vec4u(0u, 1u, 2u, 3u), last), min(first + vec4u(4u, 5u, 6u, 7u), last));
}

fn store_tile(row: u32, first: u32, low: vec4f, high: vec4f) {
  store_columns(row, first, low);
  if (first + 4u < params.columns) { store_columns(row, first + 4u, high); }
}
