// Lanes as columns, for one row. The lanes load LANES vectors of x at once and hand them round, since broadcasts cost processors less
// than loads. For subgroups of 4 or 8.
// uses: lanes_subgroup, columns
const TILE_ROWS = 1u;
const PER_LANE = 2u;
var<private> sums: array<vec4f, TILE_ROWS>;

/// Sums of row `row` of x with the lane's first two rows of weight of those that begin at `weights_at`.
fn sum_columns(row: u32, rows: u32, weights_at: vec4u, lane: u32) {
  // One column after the other, so that few lines of the cache are live at a time.
  sums[0] = vec4f(sum_column(row, weights_at.x, lane), sum_column(row, weights_at.y, lane), 0.0, 0.0);
}

fn sum_column(row: u32, weight_at: u32, lane: u32) -> f32 {
  let vectors = params.depth / 4u;
  let whole = vectors - vectors % LANES;
  let start = row * vectors;
  let row_scale = input_scale(start, lane);
  var sum = 0.0;
  for (var k = 0u; k < whole; k += LANES) {
    let value = input_vector(start + k + lane, row_scale, norm_vector(k + lane));
    let scale = group_scale(weight_at, k);
    sum = fold_pair(sum, subgroupBroadcast(value, 0u), subgroupBroadcast(value, 1u), weight_at, k, scale);
    sum = fold_pair(sum, subgroupBroadcast(value, 2u), subgroupBroadcast(value, 3u), weight_at, k + 2u, scale);
    if (LANES > 4u) {
      sum = fold_pair(sum, subgroupBroadcast(value, 4u), subgroupBroadcast(value, 5u), weight_at, k + 4u, scale);
      sum = fold_pair(sum, subgroupBroadcast(value, 6u), subgroupBroadcast(value, 7u), weight_at, k + 6u, scale);
    }
  }
  for (var k = whole; k < vectors; k++) { sum = fold(sum, input_vector(start + k, row_scale, norm_vector(k)), load_weight(weight_at, k)); }
  return sum;
}

/// Two steps along depth, from an even k on: of one word of weight, or of two.
fn fold_pair(sum: f32, value: vec4f, next: vec4f, weight_at: u32, k: u32, scale: vec2f) -> f32 {
  let word = weight[weight_at + k / STEP];
  var next_word = word;
  if (STEP == 1u) { next_word = weight[weight_at + k + 1u]; }
  return fold(fold(sum, value, unpack_weight(word, 0u, scale)), next, unpack_weight(next_word, STEP - 1u, scale));
}
