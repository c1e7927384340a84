// Rows of a gated linear layer whose lanes are columns (lib/columns.wgsl): out = activation(gate) * up, [gate, up] = x weight^T + bias.
//
// binding      dtype, shape                             what
// x            f32 [rows, depth]
// weight       any of the weights_* [2 columns, depth]  rows of gates, then rows of ups
// out          f32 [rows, columns]
// bias         f32, f16 or bf16 [2 columns]             any buffer when bias_dtype is NONE
// norm_weight  f32, f16 or bf16 [depth]                 with input_normed; any buffer otherwise
// params
// grid: one group per TILE_ROWS rows and PER_LANE / 2 LANES columns. depth is a multiple of 4.
// uses: sizes, columns, gated_output
// fragments: tile = columns_row | columns_rows
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

const OUTPUTS = PER_LANE / 2u;

/// Gate and up of each output. Of columns beyond the last, which are not stored, those of the last.
fn weights_of(first: u32) -> vec4u {
  let gates = min(vec2u(first, first + LANES), vec2u(params.columns - 1u));
  let ups = gates + params.columns;
  return vec4u(gates.x, ups.x, gates.y, ups.y);
}

fn store_lane(row: u32, first: u32, sums: vec4f) {
  for (var i = 0u; i < OUTPUTS; i++) {
    let column = first + i * LANES;
    if (column < params.columns) { store_gate(row, column, sums[2u * i], sums[2u * i + 1u]); }
  }
}
