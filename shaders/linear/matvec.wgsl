// One row of a linear layer: out = activation(x weight^T + bias) + residual, for steps with a single row.
//
// binding      dtype, shape                what
// x            f32 [rows, depth]
// weight       any of the weights_* fragments [columns, depth]
// out          f32 [rows, width]           columns from out_column on
// residual     f32 [rows, width]           read in mode RESIDUAL_READ; any buffer otherwise
// bias         f32, f16 or bf16 [columns]  any buffer when bias_dtype is NONE
// norm_weight  f32, f16 or bf16 [depth]    with input_normed; any buffer otherwise
// params
// grid: one group per row and 8 columns. depth is a multiple of 4.
// Each lane adds groups of four along depth, LANES apart, then the lanes are added: the order depends on depth only, and is
// that of linear/tile_4 and linear/tile_8, so that a row does not depend on its batch.
// uses: sizes, linear_output
// fragments: lanes = lanes_one | lanes_subgroup | lanes_workgroup
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

fn run(group: u32, lane: u32) {
  let vectors = params.depth / 4u;
  let tiles = (params.columns + 7u) / 8u;
  let row = group / tiles;
  if (row >= resolve_size(params.rows)) { return; }
  let first = (group % tiles) * 8u;
  let low = weight_rows(min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u)));
  let high = weight_rows(min(vec4u(first) + vec4u(4u, 5u, 6u, 7u), vec4u(params.columns - 1u)));
  var low_sums = vec4f();
  var high_sums = vec4f();
  let start = row * vectors;
  let scale = input_scale(start, lane);
  for (var k = lane; k < vectors; k += LANES) {
    let value = input_vector(start + k, scale, norm_vector(k));
    low_sums += value * mat4x4f(
      load_weight(low.x, k), load_weight(low.y, k),
      load_weight(low.z, k), load_weight(low.w, k));
    high_sums += value * mat4x4f(
      load_weight(high.x, k), load_weight(high.y, k),
      load_weight(high.z, k), load_weight(high.w, k));
  }
  var sums = array<vec4f, 2>(low_sums * weight_scales(low), high_sums * weight_scales(high));
  for (var i = 0u; i < 2u; i++) {
    let total = lane_sum4(sums[i]);
    if (lane == i % LANES && first + 4u * i < params.columns) { store_columns(row, first + 4u * i, total); }
  }
}
