// One row of a gated linear layer: out = activation(gate) * up, [gate, up] = x weight^T + bias, for steps with a single row.
//
// binding      dtype, shape                             what
// x            f32 [rows, depth]
// weight       any of the weights_* [2 columns, depth]  rows of gates, then rows of ups
// out          f32 [rows, columns]
// bias         f32, f16 or bf16 [2 columns]             any buffer when bias_dtype is NONE
// norm_weight  f32, f16 or bf16 [depth]                 with input_normed; any buffer otherwise
// params
// grid: one group per row and 4 columns. depth is a multiple of 4.
// Each lane adds groups of four along depth, LANES apart, then the lanes are added: the order depends on depth only, and is
// that of gated_linear/tile_4, so that a row does not depend on its batch.
// uses: sizes, gated_output
// fragments: lanes = lanes_one | lanes_subgroup | lanes_workgroup
// fragments: weights = weights_f32 | weights_f16 | weights_bf16 | weights_q8 | weights_q4 | weights_q4_zeros
// fragments: input = input_plain | input_normed
struct Params {
  rows: u32,
  columns: u32,
  depth: u32,
  bias_dtype: u32,
  activation: u32,
  eps: f32,
  norm_dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<u32>;
@group(0) @binding(4) var<storage, read> norm_weight: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;

const PUBLISHED = 1u;

fn run(group: u32, lane: u32) {
  let vectors = params.depth / 4u;
  let tiles = (params.columns + 3u) / 4u;
  let row = group / tiles;
  if (row >= resolve_size(params.rows)) { return; }
  let first = (group % tiles) * 4u;
  // Columns beyond the last repeat it, and are not stored.
  let columns = min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u));
  let gates_at = weight_rows(columns);
  let ups_at = weight_rows(columns + params.columns);
  var gates = vec4f();
  var ups = vec4f();
  let start = row * vectors;
  let scale = input_scale(start, lane);
  for (var k = lane; k < vectors; k += LANES) {
    let value = input_vector(start + k, scale, norm_vector(k));
    let gate_tile = mat4x4f(
      load_weight(gates_at.x, k), load_weight(gates_at.y, k),
      load_weight(gates_at.z, k), load_weight(gates_at.w, k));
    let up_tile = mat4x4f(
      load_weight(ups_at.x, k), load_weight(ups_at.y, k),
      load_weight(ups_at.z, k), load_weight(ups_at.w, k));
    gates += value * gate_tile;
    ups += value * up_tile;
  }
  gates = lane_sum4(gates * weight_scales(gates_at));
  ups = lane_sum4(ups * weight_scales(ups_at));
  if (lane == 0u) { store_gated(row, first, gates, ups); }
}
