// Many rows of a linear layer: out = activation(x weight^T + bias) + residual, in register tiles of 8 rows and 4 columns.
//
// binding   dtype, shape                            what
// x         f32 [rows, depth]
// weight    any of the weights_* fragments [columns, depth]
// out       f32 [rows, width]                       columns from out_column on
// residual  f32 [rows, width]                       read in mode RESIDUAL_READ; any buffer otherwise
// bias      f32, f16 or bf16 [columns]              any buffer when bias_dtype is NONE
// params
// grid: one group per 8 rows and 4 columns. depth is a multiple of 4.
// Each lane adds groups of four along depth, LANES apart, then the lanes are added: the order depends on depth only, and is
// that of linear/matvec and linear/tile_4, so that a row does not depend on its batch.
// uses: sizes, linear_output
// fragments: lanes = lanes_one | lanes_subgroup | lanes_workgroup
// fragments: weights = weights_f32 | weights_f16 | weights_bf16 | weights_q8 | weights_q4 | weights_q4_zeros
// fragments: input = input_plain
struct Params {
  rows: u32,
  columns: u32,
  depth: u32,
  width: u32,
  out_column: u32,
  bias_dtype: u32,
  activation: u32,
  residual_mode: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> residual: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;

const PUBLISHED = 1u;

fn run(group: u32, lane: u32) {
  let rows = resolve_size(params.rows);
  let vectors = params.depth / 4u;
  let tiles = (params.columns + 3u) / 4u;
  let row = (group / tiles) * 8u;
  if (row >= rows) { return; }
  let first = (group % tiles) * 4u;
  // Rows and columns beyond the last repeat it, and are not stored.
  let weights_at = weight_rows(min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u)));
  let low = min(vec4u(row) + vec4u(0u, 1u, 2u, 3u), vec4u(rows - 1u)) * vectors;
  let high = min(vec4u(row) + vec4u(4u, 5u, 6u, 7u), vec4u(rows - 1u)) * vectors;
  var sums0 = vec4f();
  var sums1 = vec4f();
  var sums2 = vec4f();
  var sums3 = vec4f();
  var sums4 = vec4f();
  var sums5 = vec4f();
  var sums6 = vec4f();
  var sums7 = vec4f();
  for (var k = lane; k < vectors; k += LANES) {
    let tile = mat4x4f(
      load_weight(weights_at.x, k), load_weight(weights_at.y, k),
      load_weight(weights_at.z, k), load_weight(weights_at.w, k));
    sums0 += x[low.x + k] * tile;
    sums1 += x[low.y + k] * tile;
    sums2 += x[low.z + k] * tile;
    sums3 += x[low.w + k] * tile;
    sums4 += x[high.x + k] * tile;
    sums5 += x[high.y + k] * tile;
    sums6 += x[high.z + k] * tile;
    sums7 += x[high.w + k] * tile;
  }
  let scales = weight_scales(weights_at);
  // Loops from here on: they run once per tile, and unrolled they would be most of the code to compile.
  var sums = array<vec4f, 8>(sums0, sums1, sums2, sums3, sums4, sums5, sums6, sums7);
  for (var i = 0u; i < 8u; i++) {
    let total = lane_sum4(sums[i] * scales);
    if (lane == i % LANES && row + i < rows) { store_columns(row + i, first, total); }
  }
}
