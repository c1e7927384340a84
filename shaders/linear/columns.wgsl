// Rows of a linear layer whose lanes are columns: out = activation(x weight^T + bias) + residual. For processors: a lane of their
// vector units loads each weight once for all rows of a tile.
//
// binding   dtype, shape                            what
// x         f32 [rows, depth]
// weight    any of the weights_* fragments [columns, depth]
// out       f32 [rows, width]                       columns from out_column on
// residual  f32 [rows, width]                       read in mode RESIDUAL_READ; any buffer otherwise
// bias      f32, f16 or bf16 [columns]              any buffer when bias_dtype is NONE
// params
// grid: one group per TILE_ROWS rows and 2 LANES columns. depth is a multiple of 4.
// The order of a sum depends on depth only, and is that of all columns_* fragments, so that a row does not depend on its batch.
// uses: sizes, linear_output
// fragments: tile = columns_row | columns_rows | columns_rows_wide
// fragments: weights = weights_f32 | weights_f16 | weights_bf16 | weights_q8 | weights_q4 | weights_q4_zeros
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
  let tiles = (params.columns + 2u * LANES - 1u) / (2u * LANES);
  let row = (group / tiles) * TILE_ROWS;
  if (row >= rows) { return; }
  let first = (group % tiles) * (2u * LANES) + lane;
  let second = first + LANES;
  // Columns beyond the last repeat it, and are not stored.
  let weights_at = weight_rows(min(vec4u(first, second, first, second), vec4u(params.columns - 1u)));
  sum_columns(row, rows, weights_at.xy, lane);
  let scales = weight_scales(weights_at).xy;
  for (var i = 0u; i < min(TILE_ROWS, rows - row); i++) {
    let total = sums[i] * scales;
    if (first < params.columns) { store_column(row + i, first, total.x); }
    if (second < params.columns) { store_column(row + i, second, total.y); }
  }
}
