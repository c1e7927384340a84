// Lanes as columns, for one row: each lane adds along the depth of a column, in order. The lanes load LANES vectors of x at once and
// hand them round, since broadcasts cost processors less than loads. For subgroups of 4 or 8.
// The kernel declares x (array<vec4f>), weight and Params.depth, and links a weights_* fragment.
// uses: lanes_subgroup, columns_fold
const TILE_ROWS = 1u;
var<private> sums: array<vec2f, TILE_ROWS>;

/// Sums of row `row` of x with the lane's two rows of weight that begin at `weights_at`.
fn sum_columns(row: u32, rows: u32, weights_at: vec2u, lane: u32) {
  // One column after the other, so that few lines of the cache are live at a time.
  sums[0] = vec2f(sum_column(row, weights_at.x, lane), sum_column(row, weights_at.y, lane));
}

fn sum_column(row: u32, weight_at: u32, lane: u32) -> f32 {
  let vectors = params.depth / 4u;
  let whole = vectors - vectors % LANES;
  let start = row * vectors;
  var sum = 0.0;
  for (var k = 0u; k < whole; k += LANES) {
    let value = x[start + k + lane];
    sum = fold(sum, subgroupBroadcast(value, 0u), load_weight(weight_at, k));
    sum = fold(sum, subgroupBroadcast(value, 1u), load_weight(weight_at, k + 1u));
    sum = fold(sum, subgroupBroadcast(value, 2u), load_weight(weight_at, k + 2u));
    sum = fold(sum, subgroupBroadcast(value, 3u), load_weight(weight_at, k + 3u));
    if (LANES > 4u) {
      sum = fold(sum, subgroupBroadcast(value, 4u), load_weight(weight_at, k + 4u));
      sum = fold(sum, subgroupBroadcast(value, 5u), load_weight(weight_at, k + 5u));
      sum = fold(sum, subgroupBroadcast(value, 6u), load_weight(weight_at, k + 6u));
      sum = fold(sum, subgroupBroadcast(value, 7u), load_weight(weight_at, k + 7u));
    }
  }
  for (var k = whole; k < vectors; k++) { sum = fold(sum, x[start + k], load_weight(weight_at, k)); }
  return sum;
}
