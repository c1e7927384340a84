// Causal attention of the queries of one tile over one segment of its pages, with an online softmax in registers: TILE_TOKENS query tokens
// x TILE_HEADS query heads of one KV head share each key and value that is read. Lanes split a chunk of positions for the scores, and
// headDim for the weighted sum.
//
// Chunks and segments lie at fixed positions, and positions that a query does not see add exactly nothing: the sums of a query have the
// same order in every tile, whatever the batch, the chunking of its prompt and the number of tiles.
//
// The kernel declares bindings qkv (array<vec4f>), k_cache, v_cache, k_scales, v_scales and block_tables, links a kv_* and a lanes_*
// fragment, and has these Params: heads, kv_heads, max_blocks, scale, window, soft_cap. headDim = 4 HEAD_VECTORS; SEGMENT is a multiple of
// a chunk.
// uses: paged, attention_parts
// consts: BLOCK_SIZE = 16, TILE_TOKENS = 1, TILE_HEADS = 1

/// Queries of a tile.
const QUERIES = TILE_TOKENS * TILE_HEADS;
/// Positions that a lane scores at once, as the columns of a matrix.
const GROUP = 4u;
const CHUNK = LANES * GROUP;
/// Vectors of headDim that a lane sums, LANES apart.
const VECTORS = (HEAD_VECTORS + LANES - 1u) / LANES;
const PUBLISHED = QUERIES;

/// The tile of a group. All of it is the same in every lane.
struct Tile {
  row: u32,
  /// First token of the tile, as a row of qkv and out.
  token: u32,
  /// Tokens of the tile that exist.
  tokens: u32,
  /// Position of the first token.
  position: u32,
  head: u32,
  kv_head: u32,
}

var<private> running_max: array<f32, QUERIES>;
var<private> running_sum: array<f32, QUERIES>;
var<private> result: array<vec4f, QUERIES * VECTORS>;

fn scores_of(raw: vec4f) -> vec4f {
  let scores = raw * params.scale;
  if (params.soft_cap == 0.0) { return scores; }
  return params.soft_cap * tanh(clamp(scores / params.soft_cap, vec4f(-15.0), vec4f(15.0)));
}

fn are_visible(query_position: u32, first: u32) -> vec4<bool> {
  let positions = vec4u(first) + vec4u(0u, 1u, 2u, 3u);
  return (positions <= vec4u(query_position)) & (positions >= vec4u(window_begin(query_position)));
}

/// Where the cached vectors of a position start.
fn cache_vector(tile: Tile, position: u32) -> u32 {
  let block = block_tables[tile.row * params.max_blocks + position / BLOCK_SIZE];
  return cache_row(block, tile.kv_head, position % BLOCK_SIZE, params.kv_heads, BLOCK_SIZE) * HEAD_VECTORS;
}
/// The same for four positions. Those from `end` on repeat the last one: they get no weight, but what is loaded must be finite.
fn cache_vectors(tile: Tile, first: u32, end: u32) -> vec4u {
  let last = end - 1u;
  var starts: vec4u;
  for (var i = 0u; i < 4u; i++) { starts[i] = cache_vector(tile, min(first + i, last)); }
  return starts;
}

/// First vector of a query of the tile. Tokens beyond the last repeat it.
fn query_vector(tile: Tile, query: u32) -> u32 {
  let token = tile.token + min(query / TILE_HEADS, tile.tokens - 1u);
  return (token * (params.heads + 2u * params.kv_heads) + tile.head + query % TILE_HEADS) * HEAD_VECTORS;
}

/// Scores of the chunk, then their weights, which are published to all lanes; what was summed before is scaled to the new maximum.
fn weigh_chunk(tile: Tile, queries: u32, chunk: u32, end: u32, lane: u32) {
  let first = chunk + lane * GROUP;
  var scores: array<vec4f, QUERIES>;
  // Of the values: a weight is multiplied by that of its position, and summed without.
  var scales = vec4f(1.0);
  if (first < end) {
    let keys = cache_vectors(tile, first, end);
    for (var d = 0u; d < HEAD_VECTORS; d++) {
      let columns = mat4x4f(
        unpack_kv(k_cache[keys.x + d]), unpack_kv(k_cache[keys.y + d]),
        unpack_kv(k_cache[keys.z + d]), unpack_kv(k_cache[keys.w + d]));
      for (var query = 0u; query < queries; query++) { scores[query] += qkv[query_vector(tile, query) + d] * columns; }
    }
    let of_keys = key_scales(keys / HEAD_VECTORS);
    for (var query = 0u; query < queries; query++) { scores[query] *= of_keys; }
    scales = value_scales(keys / HEAD_VECTORS);
  }
  for (var query = 0u; query < queries; query++) {
    let visible = are_visible(tile.position + query / TILE_HEADS, first);
    let seen = select(vec4f(LOWEST), scores_of(scores[query]), visible);
    let largest = max(max(seen.x, seen.y), max(seen.z, seen.w));
    let new_max = max(running_max[query], lane_max(largest));
    let rescale = exp(running_max[query] - new_max);
    running_max[query] = new_max;
    let weights = select(vec4f(), exp(seen - new_max), visible);
    running_sum[query] = running_sum[query] * rescale + (weights.x + weights.y) + (weights.z + weights.w);
    for (var v = 0u; v < VECTORS; v++) { result[query * VECTORS + v] *= rescale; }
    lane_publish(query, lane, weights * scales);
  }
  lane_sync();
}

/// Adds the chunk's values by the published weights.
fn add_values(tile: Tile, queries: u32, chunk: u32, end: u32, lane: u32) {
  for (var i = 0u; i < min(LANES, (end - chunk + GROUP - 1u) / GROUP); i++) {
    let values = cache_vectors(tile, chunk + i * GROUP, end);
    for (var v = 0u; v < VECTORS; v++) {
      let d = min(lane + v * LANES, HEAD_VECTORS - 1u);
      let columns = mat4x4f(
        unpack_kv(v_cache[values.x + d]), unpack_kv(v_cache[values.y + d]),
        unpack_kv(v_cache[values.z + d]), unpack_kv(v_cache[values.w + d]));
      for (var query = 0u; query < queries; query++) { result[query * VECTORS + v] += columns * lane_read(query, i); }
    }
  }
}

/// The first position that a query of the tile sees.
fn first_position(tile: Tile) -> u32 {
  return window_begin(tile.position);
}

/// The segment of the last position that a query of the tile sees.
fn last_segment(tile: Tile) -> u32 {
  return (tile.position + tile.tokens - 1u) / SEGMENT;
}

/// Leaves the part of one segment in running_max, running_sum (of each lane) and result. `queries`, a constant so that loops over them are
/// unrolled: QUERIES, or TILE_HEADS where the tile has one token.
fn sum_segment(tile: Tile, queries: u32, segment: u32, lane: u32) {
  for (var query = 0u; query < queries; query++) {
    running_max[query] = LOWEST;
    running_sum[query] = 0.0;
    for (var v = 0u; v < VECTORS; v++) { result[query * VECTORS + v] = vec4f(); }
  }
  let end = min(tile.position + tile.tokens, (segment + 1u) * SEGMENT);
  let first = max(first_position(tile), segment * SEGMENT);
  for (var chunk = first - first % CHUNK; chunk < end; chunk += CHUNK) {
    weigh_chunk(tile, queries, chunk, end, lane);
    add_values(tile, queries, chunk, end, lane);
  }
}
