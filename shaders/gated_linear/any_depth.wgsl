// A gated linear layer whose depth is not a multiple of 4, so that rows of 16-bit weights may begin inside a word:
// out = activation(gate) * up, [gate, up] = x weight^T + bias.
//
// binding   dtype, shape                            what
// x         f32 [rows, depth]
// weight    f32, f16 or bf16 [2 columns, depth]     rows of gates, then rows of ups
// out       f32 [rows, columns]
// bias      the dtype of weight [2 columns]         any buffer when bias_dtype is NONE
// params
// grid: one group per row and 4 columns. Lanes go along depth; the order of a sum depends on depth only.
// uses: sizes, gated_output, matrix_element
// fragments: lanes = lanes_one | lanes_subgroup | lanes_workgroup
struct Params {
  rows: u32,
  columns: u32,
  depth: u32,
  bias_dtype: u32,
  activation: u32,
  weight_dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

const PUBLISHED = 1u;

fn weight_at(row: u32, k: u32) -> f32 {
  return matrix_element(params.weight_dtype, row, k, params.depth);
}

fn run(group: u32, lane: u32) {
  let tiles = (params.columns + 3u) / 4u;
  let row = group / tiles;
  if (row >= resolve_size(params.rows)) { return; }
  let first = (group % tiles) * 4u;
  // Columns beyond the last repeat it, and are not stored.
  let gates_at = min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u));
  let ups_at = gates_at + params.columns;
  var gates = vec4f();
  var ups = vec4f();
  for (var k = lane; k < params.depth; k += LANES) {
    let value = x[row * params.depth + k];
    gates += value * vec4f(
      weight_at(gates_at.x, k), weight_at(gates_at.y, k), weight_at(gates_at.z, k), weight_at(gates_at.w, k));
    ups += value * vec4f(weight_at(ups_at.x, k), weight_at(ups_at.y, k), weight_at(ups_at.z, k), weight_at(ups_at.w, k));
  }
  gates = lane_sum4(gates);
  ups = lane_sum4(ups);
  if (lane == 0u) { store_gated(row, first, gates, ups); }
}
