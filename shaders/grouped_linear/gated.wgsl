// Gated linear layers of the experts of each token, side by side: block j of out = activation(gate) * up, [gate, up] = x weight^T with
// the rows of the token's j-th expert.
//
// binding   dtype, shape                                    what
// x         f32 [rows, depth]
// experts   u32 [rows, chosen]
// weight    any of the weights_* [count 2 columns, depth]   of each expert from first_expert on the gates, then the ups
// out       f32 [rows, chosen columns]                      blocks of other experts stay as they are
// params
// grid: one group per row, expert of the row and 4 columns. depth is a multiple of 4.
// Each lane adds groups of four along depth, LANES apart, then the lanes are added: the order depends on depth only.
// uses: sizes, activation
// fragments: lanes = lanes_one | lanes_subgroup | lanes_workgroup
// fragments: weights = weights_f32 | weights_f16 | weights_bf16 | weights_q8 | weights_q4 | weights_q4_zeros
struct Params {
  rows: u32,
  chosen: u32,
  columns: u32,
  depth: u32,
  first_expert: u32,
  count: u32,
  activation: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> experts: array<u32>;
@group(0) @binding(2) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

const PUBLISHED = 1u;

fn run(group: u32, lane: u32) {
  let vectors = params.depth / 4u;
  let tiles = (params.columns + 3u) / 4u;
  let block = group / tiles;
  let row = block / params.chosen;
  if (row >= resolve_size(params.rows)) { return; }
  // An expert before the first becomes a number beyond the last.
  let expert = lane_uniform(experts[block] - params.first_expert);
  if (expert >= params.count) { return; }
  let first = (group % tiles) * 4u;
  // Columns beyond the last repeat it, and are not stored.
  let columns = min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u)) + expert * 2u * params.columns;
  let gates_at = weight_rows(columns);
  let ups_at = weight_rows(columns + params.columns);
  var gates = vec4f();
  var ups = vec4f();
  for (var k = lane; k < vectors; k += LANES) {
    let value = x[row * vectors + k];
    gates += value * mat4x4f(
      load_weight(gates_at.x, k), load_weight(gates_at.y, k),
      load_weight(gates_at.z, k), load_weight(gates_at.w, k));
    ups += value * mat4x4f(
      load_weight(ups_at.x, k), load_weight(ups_at.y, k),
      load_weight(ups_at.z, k), load_weight(ups_at.w, k));
  }
  gates = lane_sum4(gates * weight_scales(gates_at));
  ups = lane_sum4(ups * weight_scales(ups_at));
  if (lane != 0u) { return; }
  for (var i = 0u; i < min(4u, params.columns - first); i++) {
    out[block * params.columns + first + i] = activate(params.activation, gates[i]) * ups[i];
  }
}
