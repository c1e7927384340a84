// Causal attention of the queries of each sequence over its pages, with an online softmax in registers. A group takes a tile of
// TILE_TOKENS query tokens x TILE_HEADS query heads of one KV head, so that all of them share each key and value that is read.
// Its lanes split a chunk of positions for the scores, and headDim for the weighted sum.
//
// Chunks lie at fixed positions, and positions that a query does not see add exactly nothing: its sums have the same order in
// every tile, whatever the batch, the chunking of its prompt and the number of tiles.
//
// binding       dtype, shape                                      what
// qkv           f32 [tokens, (heads + 2 kvHeads) headDim]         as vec4
// k_cache       any of the kv_* fragments [blocks, kv_heads, block_size, headDim]
// v_cache       any of the kv_* fragments [blocks, kv_heads, block_size, headDim]
// sequences     u32 [sequences, SEQUENCE_WORDS]
// block_tables  u32 [maxRows, max_blocks]
// out           f32 [tokens, heads headDim]                       as vec4; rows of spent sequences and padding become 0
// k_scales      f32 [blocks, kv_heads, block_size]                of codes; any buffer otherwise
// v_scales      f32 [blocks, kv_heads, block_size]                of codes; any buffer otherwise
// params        first_sequence .. end_sequence is the range that this dispatch takes, with up to query_tokens tokens each
// grid: one group per sequence, head tile and token tile. headDim = 4 HEAD_VECTORS.
// uses: sizes, paged
// consts: BLOCK_SIZE = 16, HEAD_VECTORS = 16, TILE_TOKENS = 1, TILE_HEADS = 1
// fragments: lanes = lanes_one | lanes_subgroup | lanes_workgroup
// fragments: kv = kv_f32 | kv_f16 | kv_native_f16 | kv_i8 | kv_f8e4m3
struct Params {
  first_sequence: u32,
  end_sequence: u32,
  sequences: u32,
  query_tokens: u32,
  tokens: u32,
  heads: u32,
  kv_heads: u32,
  max_blocks: u32,
  scale: f32,
  window: u32,
  soft_cap: f32,
}
@group(0) @binding(0) var<storage, read_write> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read> k_cache: array<KvWord>;
@group(0) @binding(2) var<storage, read> v_cache: array<KvWord>;
@group(0) @binding(3) var<storage, read_write> sequences: array<u32>;
@group(0) @binding(4) var<storage, read> block_tables: array<u32>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(6) var<storage, read> k_scales: array<f32>;
@group(0) @binding(7) var<storage, read> v_scales: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;

/// Queries of a tile.
const QUERIES = TILE_TOKENS * TILE_HEADS;
/// Positions that a lane scores at once, as the columns of a matrix.
const GROUP = 4u;
const CHUNK = LANES * GROUP;
/// Vectors of headDim that a lane sums, LANES apart.
const VECTORS = (HEAD_VECTORS + LANES - 1u) / LANES;
const PUBLISHED = QUERIES;
/// Below every score, and finite.
const LOWEST = -3.0e38;

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
  let begin = select(0u, query_position + 1u - params.window, params.window != 0u && query_position >= params.window);
  return (positions <= vec4u(query_position)) & (positions >= vec4u(begin));
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
fn weigh_chunk(tile: Tile, chunk: u32, end: u32, lane: u32) {
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
      for (var query = 0u; query < QUERIES; query++) { scores[query] += qkv[query_vector(tile, query) + d] * columns; }
    }
    let of_keys = key_scales(keys / HEAD_VECTORS);
    for (var query = 0u; query < QUERIES; query++) { scores[query] *= of_keys; }
    scales = value_scales(keys / HEAD_VECTORS);
  }
  for (var query = 0u; query < QUERIES; query++) {
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
fn add_values(tile: Tile, chunk: u32, end: u32, lane: u32) {
  for (var i = 0u; i < min(LANES, (end - chunk + GROUP - 1u) / GROUP); i++) {
    let values = cache_vectors(tile, chunk + i * GROUP, end);
    for (var v = 0u; v < VECTORS; v++) {
      let d = min(lane + v * LANES, HEAD_VECTORS - 1u);
      let columns = mat4x4f(
        unpack_kv(v_cache[values.x + d]), unpack_kv(v_cache[values.y + d]),
        unpack_kv(v_cache[values.z + d]), unpack_kv(v_cache[values.w + d]));
      for (var query = 0u; query < QUERIES; query++) { result[query * VECTORS + v] += columns * lane_read(query, i); }
    }
  }
}

fn attend(tile: Tile, lane: u32) {
  for (var query = 0u; query < QUERIES; query++) {
    running_max[query] = LOWEST;
    running_sum[query] = 0.0;
    for (var v = 0u; v < VECTORS; v++) { result[query * VECTORS + v] = vec4f(); }
  }
  let end = tile.position + tile.tokens;
  var first = 0u;
  if (params.window > 0u && tile.position + 1u > params.window) { first = tile.position + 1u - params.window; }
  for (var chunk = first - first % CHUNK; chunk < end; chunk += CHUNK) {
    weigh_chunk(tile, chunk, end, lane);
    add_values(tile, chunk, end, lane);
  }
  for (var query = 0u; query < QUERIES; query++) {
    let sum = lane_sum(running_sum[query]);
    if (query / TILE_HEADS >= tile.tokens) { continue; }
    for (var v = 0u; v < VECTORS; v++) {
      let d = lane + v * LANES;
      if (d < HEAD_VECTORS) { out[out_vector(tile, query) + d] = result[query * VECTORS + v] / sum; }
    }
  }
}

fn out_vector(tile: Tile, query: u32) -> u32 {
  return ((tile.token + query / TILE_HEADS) * params.heads + tile.head + query % TILE_HEADS) * HEAD_VECTORS;
}

/// Zeroes this head tile's part of rows begin .. end of out.
fn clear_rows(begin: u32, end: u32, head: u32, lane: u32) {
  for (var token = begin; token < end; token++) {
    let start = (token * params.heads + head) * HEAD_VECTORS;
    for (var d = lane; d < TILE_HEADS * HEAD_VECTORS; d += LANES) { out[start + d] = vec4f(); }
  }
}

/// Tokens that belong to sequences; the rest is padding.
fn covered_tokens() -> u32 {
  for (var i = resolve_size(params.sequences); i > 0u; i--) {
    let record = (i - 1u) * SEQUENCE_WORDS;
    let length = sequences[record + SEQUENCE_QUERY_LEN];
    if (length > 0u) { return sequences[record + SEQUENCE_QUERY_START] + length; }
  }
  return 0u;
}

fn run(group: u32, lane: u32) {
  let tiles = (resolve_size(params.query_tokens) + TILE_TOKENS - 1u) / TILE_TOKENS;
  let head_tiles = params.heads / TILE_HEADS;
  let sequence = resolve_size(params.first_sequence) + group / (tiles * head_tiles);
  if (sequence >= resolve_size(params.end_sequence)) { return; }
  let head = ((group / tiles) % head_tiles) * TILE_HEADS;
  let first = (group % tiles) * TILE_TOKENS;
  let record = sequence * SEQUENCE_WORDS;
  let query_start = lane_uniform(sequences[record + SEQUENCE_QUERY_START]);
  let query_length = lane_uniform(sequences[record + SEQUENCE_QUERY_LEN]);
  let context = lane_uniform(sequences[record + SEQUENCE_CONTEXT_LEN]);
  if (sequence + 1u == resolve_size(params.sequences) && first == 0u) {
    clear_rows(covered_tokens(), resolve_size(params.tokens), head, lane);
  }
  if (first >= query_length) { return; }
  let tokens = min(TILE_TOKENS, query_length - first);
  if (context == 0u) {
    clear_rows(query_start + first, query_start + first + tokens, head, lane);
    return;
  }
  let row = lane_uniform(sequences[record + SEQUENCE_ROW]);
  let kv_head = head * params.kv_heads / params.heads;
  attend(Tile(row, query_start + first, tokens, context - query_length + first, head, kv_head), lane);
}
