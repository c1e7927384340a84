// Lanes as columns, for LANES rows at once. Each lane loads a vector of one row of x and hands it to the others, so that a load of a
// weight serves all rows. For subgroups of 4 or 8.
// uses: lanes_subgroup, columns
const TILE_ROWS = LANES;
const PER_LANE = 4u;
/// Of TILE_ROWS rows, with room for lanes that a subgroup of 4 lacks.
var<private> sums: array<vec4f, LANES + 4u>;
/// The same while they are added to: an array whose index is a number only at run time would not stay in registers.
var<private> sums0: vec4f;
var<private> sums1: vec4f;
var<private> sums2: vec4f;
var<private> sums3: vec4f;
var<private> sums4: vec4f;
var<private> sums5: vec4f;
var<private> sums6: vec4f;
var<private> sums7: vec4f;

/// Sums of TILE_ROWS rows of x from `row` on with the lane's rows of weight that begin at `weights_at`. Rows beyond the last repeat it.
fn sum_columns(row: u32, rows: u32, weights_at: vec4u, lane: u32) {
  let vectors = params.depth / 4u;
  let start = min(row + lane, rows - 1u) * vectors;
  let row_scale = own_scale(row, rows, lane);
  var scales: array<vec2f, PER_LANE>;
  for (var k = 0u; k < vectors; k += STEP) {
    if (k % SHARED == 0u) {
      scales = array<vec2f, PER_LANE>(
        group_scale(weights_at.x, k), group_scale(weights_at.y, k), group_scale(weights_at.z, k), group_scale(weights_at.w, k));
    }
    let at = weights_at + k / STEP;
    let words = array<WeightWord, PER_LANE>(weight[at.x], weight[at.y], weight[at.z], weight[at.w]);
    fold_rows(input_vector(start + k, row_scale, norm_vector(k)), words, 0u, scales);
    if (STEP > 1u) { fold_rows(input_vector(start + k + 1u, row_scale, norm_vector(k + 1u)), words, 1u, scales); }
  }
  sums[0u] = sums0; sums[1u] = sums1; sums[2u] = sums2; sums[3u] = sums3;
  if (LANES > 4u) {
    sums[4u] = sums4; sums[5u] = sums5; sums[6u] = sums6; sums[7u] = sums7;
  }
}

/// The scale of the row that this lane loads. All lanes together compute that of each row.
fn own_scale(row: u32, rows: u32, lane: u32) -> f32 {
  var own = 1.0;
  for (var i = 0u; i < TILE_ROWS; i++) {
    let scale = input_scale(min(row + i, rows - 1u) * (params.depth / 4u), lane);
    own = select(own, scale, i == lane);
  }
  return own;
}

/// One step along depth: `value` is of the row of this lane.
fn fold_rows(value: vec4f, words: array<WeightWord, PER_LANE>, part: u32, scales: array<vec2f, PER_LANE>) {
  let weights = mat4x4f(
    unpack_weight(words[0], part, scales[0]), unpack_weight(words[1], part, scales[1]),
    unpack_weight(words[2], part, scales[2]), unpack_weight(words[3], part, scales[3]));
  sums0 = fold_columns(sums0, subgroupBroadcast(value, 0u), weights);
  sums1 = fold_columns(sums1, subgroupBroadcast(value, 1u), weights);
  sums2 = fold_columns(sums2, subgroupBroadcast(value, 2u), weights);
  sums3 = fold_columns(sums3, subgroupBroadcast(value, 3u), weights);
  if (LANES > 4u) {
    sums4 = fold_columns(sums4, subgroupBroadcast(value, 4u), weights);
    sums5 = fold_columns(sums5, subgroupBroadcast(value, 5u), weights);
    sums6 = fold_columns(sums6, subgroupBroadcast(value, 6u), weights);
    sums7 = fold_columns(sums7, subgroupBroadcast(value, 7u), weights);
  }
}

fn fold_columns(sums: vec4f, value: vec4f, weights: mat4x4f) -> vec4f {
  return vec4f(
    fold(sums.x, value, weights[0]), fold(sums.y, value, weights[1]),
    fold(sums.z, value, weights[2]), fold(sums.w, value, weights[3]));
}
