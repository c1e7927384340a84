// Rows of a gated linear layer whose lanes are columns: out = activation(gate) * up, [gate, up] = x weight^T + bias. For processors: a
// lane of their vector units loads each weight once for all rows of a tile.
//
// binding   dtype, shape                            what
// x         f32 [rows, depth]
// weight    any of the weights_* [2 columns, depth]  rows of gates, then rows of ups
// out       f32 [rows, columns]
// bias      f32, f16 or bf16 [2 columns]            any buffer when bias_dtype is NONE
// params
// grid: one group per TILE_ROWS rows and LANES columns. depth is a multiple of 4.
// The order of a sum depends on depth only, and is that of all columns_* fragments, so that a row does not depend on its batch.
// uses: sizes, gated_output
// fragments: tile = columns_row | columns_rows | columns_rows_wide
// fragments: weights = weights_f32 | weights_f16 | weights_bf16 | weights_q8 | weights_q4 | weights_q4_zeros
struct Params {
  rows: u32,
  columns: u32,
  depth: u32,
  bias_dtype: u32,
  activation: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

const PUBLISHED = 1u;

fn run(group: u32, lane: u32) {
  let rows = resolve_size(params.rows);
  let tiles = (params.columns + LANES - 1u) / LANES;
  let row = (group / tiles) * TILE_ROWS;
  if (row >= rows) { return; }
  let column = (group % tiles) * LANES + lane;
  // Columns beyond the last repeat it, and are not stored.
  let gate = min(column, params.columns - 1u);
  let up = gate + params.columns;
  let weights_at = weight_rows(vec4u(gate, up, gate, up));
  sum_columns(row, rows, weights_at.xy, lane);
  let scales = weight_scales(weights_at).xy;
  if (column >= params.columns) { return; }
  for (var i = 0u; i < min(TILE_ROWS, rows - row); i++) {
    let total = sums[i] * scales;
    store_gate(row + i, column, total.x, total.y);
  }
}
