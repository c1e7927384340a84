// A few rows of a linear layer: out = activation(x weight^T + bias) + residual, in register tiles of 4 rows and 4 columns.
//
// binding      dtype, shape                what
// x            f32 [rows, depth]
// weight       any of the weights_* fragments [columns, depth]
// out          f32 [rows, width]           columns from out_column on
// residual     f32 [rows, width]           read in mode RESIDUAL_READ; any buffer otherwise
// bias         f32, f16 or bf16 [columns]  any buffer when bias_dtype is NONE
// norm_weight  f32, f16 or bf16 [depth]    with input_normed; any buffer otherwise
// params
// grid: one group per 4 rows and 4 columns. depth is a multiple of 4.
// Each lane adds groups of four along depth, LANES apart, then the lanes are added: the order depends on depth only, and is
// that of linear/matvec and linear/tile_8, so that a row does not depend on its batch.
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
  let rows = resolve_size(params.rows);
  let vectors = params.depth / 4u;
  let tiles = (params.columns + 3u) / 4u;
  let row = (group / tiles) * 4u;
  if (row >= rows) { return; }
  let first = (group % tiles) * 4u;
  // Rows and columns beyond the last repeat it, and are not stored.
  let weights_at = weight_rows(min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u)));
  let rows_at = min(vec4u(row) + vec4u(0u, 1u, 2u, 3u), vec4u(rows - 1u)) * vectors;
  var sums0 = vec4f();
  var sums1 = vec4f();
  var sums2 = vec4f();
  var sums3 = vec4f();
  let scale0 = input_scale(rows_at.x, lane);
  let scale1 = input_scale(rows_at.y, lane);
  let scale2 = input_scale(rows_at.z, lane);
  let scale3 = input_scale(rows_at.w, lane);
  for (var k = lane; k < vectors; k += LANES) {
    let norm = norm_vector(k);
    let tile = mat4x4f(
      load_weight(weights_at.x, k), load_weight(weights_at.y, k),
      load_weight(weights_at.z, k), load_weight(weights_at.w, k));
    sums0 += input_vector(rows_at.x + k, scale0, norm) * tile;
    sums1 += input_vector(rows_at.y + k, scale1, norm) * tile;
    sums2 += input_vector(rows_at.z + k, scale2, norm) * tile;
    sums3 += input_vector(rows_at.w + k, scale3, norm) * tile;
  }
  let scales = weight_scales(weights_at);
  // Loops from here on: they run once per tile, and unrolled they would be most of the code to compile.
  var sums = array<vec4f, 4>(sums0, sums1, sums2, sums3);
  for (var i = 0u; i < 4u; i++) {
    let total = lane_sum4(sums[i] * scales);
    if (lane == i % LANES && row + i < rows) { store_columns(row + i, first, total); }
  }
}
