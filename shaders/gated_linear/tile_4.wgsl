// Rows of a gated linear layer: out = activation(gate) * up, [gate, up] = x weight^T + bias, in register tiles of 4 rows and 4
// columns of both.
//
// binding      dtype, shape                             what
// x            f32 [rows, depth]
// weight       any of the weights_* [2 columns, depth]  rows of gates, then rows of ups
// out          f32 [rows, columns]
// bias         f32, f16 or bf16 [2 columns]             any buffer when bias_dtype is NONE
// norm_weight  f32, f16 or bf16 [depth]                 with input_normed; any buffer otherwise
// params
// grid: one group per 4 rows and 4 columns. depth is a multiple of 4.
// Each lane adds groups of four along depth, LANES apart, then the lanes are added: the order depends on depth only, and is
// that of gated_linear/matvec, so that a row does not depend on its batch.
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
  let rows = resolve_size(params.rows);
  let vectors = params.depth / 4u;
  let tiles = (params.columns + 3u) / 4u;
  let row = (group / tiles) * 4u;
  if (row >= rows) { return; }
  let first = (group % tiles) * 4u;
  // Rows and columns beyond the last repeat it, and are not stored.
  let columns = min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u));
  let gates_at = weight_rows(columns);
  let ups_at = weight_rows(columns + params.columns);
  let rows_at = min(vec4u(row) + vec4u(0u, 1u, 2u, 3u), vec4u(rows - 1u)) * vectors;
  var gates0 = vec4f();
  var gates1 = vec4f();
  var gates2 = vec4f();
  var gates3 = vec4f();
  var ups0 = vec4f();
  var ups1 = vec4f();
  var ups2 = vec4f();
  var ups3 = vec4f();
  let scale0 = input_scale(rows_at.x, lane);
  let scale1 = input_scale(rows_at.y, lane);
  let scale2 = input_scale(rows_at.z, lane);
  let scale3 = input_scale(rows_at.w, lane);
  for (var k = lane; k < vectors; k += LANES) {
    let norm = norm_vector(k);
    let gate_tile = mat4x4f(
      load_weight(gates_at.x, k), load_weight(gates_at.y, k),
      load_weight(gates_at.z, k), load_weight(gates_at.w, k));
    let up_tile = mat4x4f(
      load_weight(ups_at.x, k), load_weight(ups_at.y, k),
      load_weight(ups_at.z, k), load_weight(ups_at.w, k));
    let row0 = input_vector(rows_at.x + k, scale0, norm);
    let row1 = input_vector(rows_at.y + k, scale1, norm);
    let row2 = input_vector(rows_at.z + k, scale2, norm);
    let row3 = input_vector(rows_at.w + k, scale3, norm);
    gates0 += row0 * gate_tile;
    ups0 += row0 * up_tile;
    gates1 += row1 * gate_tile;
    ups1 += row1 * up_tile;
    gates2 += row2 * gate_tile;
    ups2 += row2 * up_tile;
    gates3 += row3 * gate_tile;
    ups3 += row3 * up_tile;
  }
  let gate_scales = weight_scales(gates_at);
  let up_scales = weight_scales(ups_at);
  // Loops from here on: they run once per tile, and unrolled they would be most of the code to compile.
  var gates = array<vec4f, 4>(gates0, gates1, gates2, gates3);
  var ups = array<vec4f, 4>(ups0, ups1, ups2, ups3);
  for (var i = 0u; i < 4u; i++) {
    let gate = lane_sum4(gates[i] * gate_scales);
    let up = lane_sum4(ups[i] * up_scales);
    if (lane == i % LANES && row + i < rows) { store_gated(row + i, first, gate, up); }
  }
}
