// Linear layers of the experts of each token, summed: out = residual + sum over j of shares[j] (block j of x) weight^T, with the rows of
// the token's j-th expert.
//
// binding   dtype, shape                                  what
// x         f32 [rows, chosen depth]
// experts   u32 [rows, chosen]
// weight    any of the weights_* [count columns, depth]   of the experts from first_expert on; others are left out
// shares    f32 [rows, chosen]
// residual  f32 [rows, columns]                           read in mode RESIDUAL_READ; any buffer otherwise
// out       f32 [rows, columns]
// params
// grid: one group per row and 4 columns. depth is a multiple of 4.
// Each lane adds groups of four along depth, LANES apart, then the lanes are added, then the experts in the order of the row.
// uses: sizes
// fragments: lanes = lanes_one | lanes_subgroup | lanes_workgroup
// fragments: weights = weights_f32 | weights_f16 | weights_bf16 | weights_q8 | weights_q4 | weights_q4_zeros
struct Params {
  rows: u32,
  chosen: u32,
  columns: u32,
  depth: u32,
  first_expert: u32,
  count: u32,
  residual_mode: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> experts: array<u32>;
@group(0) @binding(2) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(3) var<storage, read_write> shares: array<f32>;
@group(0) @binding(4) var<storage, read_write> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

const PUBLISHED = 1u;
const RESIDUAL_READ = 1u;
const RESIDUAL_IN_OUT = 2u;

fn run(group: u32, lane: u32) {
  let vectors = params.depth / 4u;
  let tiles = (params.columns + 3u) / 4u;
  let row = group / tiles;
  if (row >= resolve_size(params.rows)) { return; }
  let first = (group % tiles) * 4u;
  // Columns beyond the last repeat it, and are not stored.
  let columns = min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u));
  var total = vec4f();
  for (var j = 0u; j < params.chosen; j++) {
    let block = row * params.chosen + j;
    // An expert before the first becomes a number beyond the last.
    let expert = lane_uniform(experts[block] - params.first_expert);
    if (expert >= params.count) { continue; }
    let rows_at = weight_rows(columns + expert * params.columns);
    var sums = vec4f();
    for (var k = lane; k < vectors; k += LANES) {
      sums += x[block * vectors + k] * mat4x4f(
        load_weight(rows_at.x, k), load_weight(rows_at.y, k),
        load_weight(rows_at.z, k), load_weight(rows_at.w, k));
    }
    total += shares[block] * lane_sum4(sums * weight_scales(rows_at));
  }
  if (lane != 0u) { return; }
  for (var i = 0u; i < min(4u, params.columns - first); i++) {
    let at = row * params.columns + first + i;
    var value = total[i];
    switch (params.residual_mode) {
      case RESIDUAL_READ: { value += residual[at]; }
      case RESIDUAL_IN_OUT: { value += out[at]; }
      default: {}
    }
    out[at] = value;
  }
}
