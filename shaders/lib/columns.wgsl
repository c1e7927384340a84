// A linear layer whose lanes are columns: each lane adds along the depth of its columns, in order. For processors: a lane of their
// vector units loads each weight once for all rows of a tile. The order of a sum depends on depth only, and is that of all columns_*
// fragments, so that a row does not depend on its batch.
//
// grid: one group per TILE_ROWS rows and OUTPUTS LANES columns of the output. depth is a multiple of 4.
// The kernel declares x (array<vec4f>), weight and Params rows, columns and depth, links a weights_* fragment, and gives:
//   const OUTPUTS                                     columns of the output in a lane, of PER_LANE rows of weight
//   weights_of(first) -> vec4u                        the rows of weight of the outputs first, first + LANES ..., all of them in the weight
//   store_lane(row, first, sums)                      finishes and stores those outputs that are in the layer
fn run(group: u32, lane: u32) {
  let rows = resolve_size(params.rows);
  let width = OUTPUTS * LANES;
  let tiles = (params.columns + width - 1u) / width;
  let row = (group / tiles) * TILE_ROWS;
  if (row >= rows) { return; }
  let first = (group % tiles) * width + lane;
  let weights_at = weight_rows(weights_of(first));
  sum_columns(row, rows, weights_at, lane);
  let scales = weight_scales(weights_at);
  for (var i = 0u; i < min(TILE_ROWS, rows - row); i++) { store_lane(row + i, first, sums[i] * scales); }
}

/// One step along depth.
fn fold(sum: f32, value: vec4f, weights: vec4f) -> f32 {
  return fma(value.w, weights.w, fma(value.z, weights.z, fma(value.y, weights.y, fma(value.x, weights.x, sum))));
}
