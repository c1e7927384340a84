// Lanes as columns, for LANES rows at once: each lane adds along the depth of its columns, in order. Each lane loads a vector of
// one row of x and hands it to the others, so that a load of a weight serves all rows. For subgroups of 4 or 8.
// The kernel declares x (array<vec4f>), weight and Params.depth, and links a weights_* fragment.
// uses: lanes_subgroup, columns_fold
const TILE_ROWS = LANES;
/// Of TILE_ROWS rows, with room for lanes that a subgroup of 4 lacks.
var<private> sums: array<vec2f, LANES + 4u>;

/// Sums of TILE_ROWS rows of x from `row` on with the lane's two rows of weight that begin at `weights_at`. Rows beyond the last repeat
/// it.
fn sum_columns(row: u32, rows: u32, weights_at: vec2u, lane: u32) {
  let vectors = params.depth / 4u;
  let low_at = min(row + lane, rows - 1u) * vectors;
  var low0 = vec2f();
  var low1 = vec2f();
  var low2 = vec2f();
  var low3 = vec2f();
  var low4 = vec2f();
  var low5 = vec2f();
  var low6 = vec2f();
  var low7 = vec2f();
  for (var k = 0u; k < vectors; k++) {
    let low = x[low_at + k];
    let first = load_weight(weights_at.x, k);
    let second = load_weight(weights_at.y, k);
    low0 = fold2(low0, subgroupBroadcast(low, 0u), first, second);
    low1 = fold2(low1, subgroupBroadcast(low, 1u), first, second);
    low2 = fold2(low2, subgroupBroadcast(low, 2u), first, second);
    low3 = fold2(low3, subgroupBroadcast(low, 3u), first, second);
    if (LANES > 4u) {
      low4 = fold2(low4, subgroupBroadcast(low, 4u), first, second);
      low5 = fold2(low5, subgroupBroadcast(low, 5u), first, second);
      low6 = fold2(low6, subgroupBroadcast(low, 6u), first, second);
      low7 = fold2(low7, subgroupBroadcast(low, 7u), first, second);
    }
  }
  sums[0u] = low0; sums[1u] = low1; sums[2u] = low2; sums[3u] = low3;
  if (LANES > 4u) {
    sums[4u] = low4; sums[5u] = low5; sums[6u] = low6; sums[7u] = low7;
  }
}
