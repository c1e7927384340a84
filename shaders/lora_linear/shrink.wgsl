// The first half of low-rank adapters: hidden = x a^T with the a of each token's adapter.
//
// binding   dtype, shape                                what
// x         f32 [rows, depth]
// adapters  u32 [rows]                                  NONE: the row of hidden stays as it is
// weight    any of the weights_* [slots, width, depth]  a: of each slot the rows of all slices
// hidden    f32 [rows, width]
// params
// grid: one group per row and 4 columns of hidden. depth is a multiple of 4.
// Each lane adds groups of four along depth, LANES apart, then the lanes are added: the order depends on depth only.
// uses: sizes
// fragments: lanes = lanes_one | lanes_subgroup | lanes_workgroup
// fragments: weights = weights_f32 | weights_f16 | weights_bf16
struct Params {
  rows: u32,
  width: u32,
  depth: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> adapters: array<u32>;
@group(0) @binding(2) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(3) var<storage, read_write> hidden: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

const PUBLISHED = 1u;

fn run(group: u32, lane: u32) {
  let vectors = params.depth / 4u;
  let tiles = (params.width + 3u) / 4u;
  let row = group / tiles;
  if (row >= resolve_size(params.rows)) { return; }
  let slot = lane_uniform(adapters[row]);
  if (slot == NONE) { return; }
  let first = (group % tiles) * 4u;
  // Columns beyond the last repeat it, and are not stored.
  let columns = min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(params.width - 1u)) + slot * params.width;
  let rows_at = weight_rows(columns);
  var sums = vec4f();
  for (var k = lane; k < vectors; k += LANES) {
    sums += x[row * vectors + k] * mat4x4f(
      load_weight(rows_at.x, k), load_weight(rows_at.y, k),
      load_weight(rows_at.z, k), load_weight(rows_at.w, k));
  }
  sums = lane_sum4(sums);
  if (lane != 0u) { return; }
  for (var i = 0u; i < min(4u, params.width - first); i++) {
    hidden[row * params.width + first + i] = sums[i];
  }
}
