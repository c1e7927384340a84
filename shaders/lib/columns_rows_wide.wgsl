// Lanes as columns, for 2 LANES rows at once: as columns_rows, with two vectors of x per lane. For subgroups of 4 or 8.
// The kernel declares x (array<vec4f>), weight and Params.depth, and links a weights_* fragment.
// uses: lanes_subgroup, columns_fold
const TILE_ROWS = 2u * LANES;
/// Of TILE_ROWS rows, with room for lanes that a subgroup of 4 lacks.
var<private> sums: array<vec2f, 2u * LANES + 4u>;

/// Sums of TILE_ROWS rows of x from `row` on with the lane's two rows of weight that begin at `weights_at`. Rows beyond the last repeat
/// it.
fn sum_columns(row: u32, rows: u32, weights_at: vec2u, lane: u32) {
  let vectors = params.depth / 4u;
  let low_at = min(row + lane, rows - 1u) * vectors;
  let high_at = min(row + LANES + lane, rows - 1u) * vectors;
  var low0 = vec2f();
  var low1 = vec2f();
  var low2 = vec2f();
  var low3 = vec2f();
  var low4 = vec2f();
  var low5 = vec2f();
  var low6 = vec2f();
  var low7 = vec2f();
  var high0 = vec2f();
  var high1 = vec2f();
  var high2 = vec2f();
  var high3 = vec2f();
  var high4 = vec2f();
  var high5 = vec2f();
  var high6 = vec2f();
  var high7 = vec2f();
  for (var k = 0u; k < vectors; k++) {
    let low = x[low_at + k];
    let high = x[high_at + k];
    let first = load_weight(weights_at.x, k);
    let second = load_weight(weights_at.y, k);
    low0 = fold2(low0, subgroupBroadcast(low, 0u), first, second);
    low1 = fold2(low1, subgroupBroadcast(low, 1u), first, second);
    low2 = fold2(low2, subgroupBroadcast(low, 2u), first, second);
    low3 = fold2(low3, subgroupBroadcast(low, 3u), first, second);
    high0 = fold2(high0, subgroupBroadcast(high, 0u), first, second);
    high1 = fold2(high1, subgroupBroadcast(high, 1u), first, second);
    high2 = fold2(high2, subgroupBroadcast(high, 2u), first, second);
    high3 = fold2(high3, subgroupBroadcast(high, 3u), first, second);
    if (LANES > 4u) {
      low4 = fold2(low4, subgroupBroadcast(low, 4u), first, second);
      low5 = fold2(low5, subgroupBroadcast(low, 5u), first, second);
      low6 = fold2(low6, subgroupBroadcast(low, 6u), first, second);
      low7 = fold2(low7, subgroupBroadcast(low, 7u), first, second);
      high4 = fold2(high4, subgroupBroadcast(high, 4u), first, second);
      high5 = fold2(high5, subgroupBroadcast(high, 5u), first, second);
      high6 = fold2(high6, subgroupBroadcast(high, 6u), first, second);
      high7 = fold2(high7, subgroupBroadcast(high, 7u), first, second);
    }
  }
  sums[0u] = low0; sums[1u] = low1; sums[2u] = low2; sums[3u] = low3;
  sums[LANES + 0u] = high0; sums[LANES + 1u] = high1; sums[LANES + 2u] = high2; sums[LANES + 3u] = high3;
  if (LANES > 4u) {
    sums[4u] = low4; sums[5u] = low5; sums[6u] = low6; sums[7u] = low7;
    sums[LANES + 4u] = high4; sums[LANES + 5u] = high5; sums[LANES + 6u] = high6; sums[LANES + 7u] = high7;
  }
}
