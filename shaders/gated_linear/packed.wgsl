// Rows of a gated linear layer over weights in few bits, as sums of integers (lib/packed.wgsl): out = activation(gate) * up, [gate, up] =
// x weight^T + bias.
//
// binding      dtype, shape                             what
// x            f32 [rows, depth]
// weight       q8 or q4 [2 columns, depth]  rows of gates, then rows of ups
// out          f32 [rows, columns]
// bias         f32, f16 or bf16 [2 columns]             any buffer when bias_dtype is NONE
// norm_weight  f32, f16 or bf16 [depth]                 with input_normed; any buffer otherwise
// params
// grid: one group per TILE_ROWS rows and 4 columns. depth is a multiple of 32.
// uses: sizes, packed, gated_output
// fragments: lanes = lanes_subgroup | lanes_workgroup
// fragments: weights = weights_q8 | weights_q4 | weights_q4_zeros
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

const OUTPUTS = 4u;

/// Gates, then ups. Columns beyond the last repeat it, and are not stored.
fn weights_of(first: u32) -> array<vec4u, 2> {
  let gates = min(first + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u));
  return array<vec4u, 2>(gates, gates + params.columns);
}

fn store_tile(row: u32, first: u32, low: vec4f, high: vec4f) {
  store_gated(row, first, low, high);
}
