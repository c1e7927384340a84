// Causal attention of the queries of each sequence over its pages, with an online softmax in registers. A group takes a tile of
// TILE_TOKENS query tokens x TILE_HEADS query heads of one KV head, so that all of them share each key and value that is read.
// Its lanes split a chunk of positions for the scores, and headDim for the weighted sum.
//
// Chunks lie at fixed positions, and positions that a query does not see add exactly nothing: its sums have the same order in
// every tile, whatever the batch, the chunking of its prompt and the number of tiles.
//
// binding       dtype, shape                                      what
// qkv           f32 [tokens, (heads + 2 kvHeads) headDim]         as vec4
// k_cache       f32 or f16 [blocks, kv_heads, block_size, headDim]
// v_cache       f32 or f16 [blocks, kv_heads, block_size, headDim]
// sequences     u32 [sequences, SEQUENCE_WORDS]
// block_tables  u32 [maxRows, max_blocks]
// out           f32 [tokens, heads headDim]                       as vec4; rows of spent sequences and padding become 0
// params        first_sequence .. end_sequence is the range that this dispatch takes, with up to query_tokens tokens each
// grid: one group per sequence, head tile and token tile. headDim = 4 HEAD_VECTORS.
// uses: sizes, paged
// consts: HEAD_VECTORS = 16, TILE_TOKENS = 1, TILE_HEADS = 1, POSITIONS = 1
// fragments: lanes = lanes_one | lanes_subgroup | lanes_workgroup
// fragments: kv = kv_f32 | kv_f16 | kv_native_f16
struct Params {
  first_sequence: u32,
  end_sequence: u32,
  sequences: u32,
  query_tokens: u32,
  tokens: u32,
  heads: u32,
  kv_heads: u32,
  block_size: u32,
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
@group(0) @binding(6) var<uniform> params: Params;

/// Queries of a tile.
const QUERIES = TILE_TOKENS * TILE_HEADS;
/// Positions of a chunk; a lane scores POSITIONS of them, LANES apart.
const CHUNK = LANES * POSITIONS;
/// Vectors of headDim that a lane sums, LANES apart.
const VECTORS = (HEAD_VECTORS + LANES - 1u) / LANES;
const PUBLISHED = QUERIES * POSITIONS;
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

fn score_of(raw: f32) -> f32 {
  let score = raw * params.scale;
  if (params.soft_cap == 0.0) { return score; }
  return params.soft_cap * tanh(clamp(score / params.soft_cap, -15.0, 15.0));
}

fn is_visible(query_position: u32, position: u32) -> bool {
  return position <= query_position && (params.window == 0u || position + params.window > query_position);
}

fn cache_vector(tile: Tile, position: u32) -> u32 {
  let block = block_tables[tile.row * params.max_blocks + position / params.block_size];
  return cache_row(block, tile.kv_head, position % params.block_size, params.kv_heads, params.block_size) * HEAD_VECTORS;
}

/// First vector of a query of the tile. Tokens beyond the last repeat it.
fn query_vector(tile: Tile, query: u32) -> u32 {
  let token = tile.token + min(query / TILE_HEADS, tile.tokens - 1u);
  return (token * (params.heads + 2u * params.kv_heads) + tile.head + query % TILE_HEADS) * HEAD_VECTORS;
}

/// Scores of the chunk, then their weights, which are published to all lanes; what was summed before is scaled to the new maximum.
fn weigh_chunk(tile: Tile, chunk: u32, end: u32, lane: u32) {
  var scores: array<f32, PUBLISHED>;
  for (var i = 0u; i < POSITIONS; i++) {
    let position = chunk + i * LANES + lane;
    if (position >= end) { continue; }
    let key = cache_vector(tile, position);
    for (var d = 0u; d < HEAD_VECTORS; d++) {
      let k = unpack_kv(k_cache[key + d]);
      for (var query = 0u; query < QUERIES; query++) {
        scores[query * POSITIONS + i] += dot(qkv[query_vector(tile, query) + d], k);
      }
    }
  }
  for (var query = 0u; query < QUERIES; query++) {
    let query_position = tile.position + query / TILE_HEADS;
    var largest = LOWEST;
    for (var i = 0u; i < POSITIONS; i++) {
      let slot = query * POSITIONS + i;
      scores[slot] = score_of(scores[slot]);
      if (is_visible(query_position, chunk + i * LANES + lane)) { largest = max(largest, scores[slot]); }
    }
    let new_max = max(running_max[query], lane_max(largest));
    let rescale = exp(running_max[query] - new_max);
    running_max[query] = new_max;
    running_sum[query] *= rescale;
    for (var v = 0u; v < VECTORS; v++) { result[query * VECTORS + v] *= rescale; }
    for (var i = 0u; i < POSITIONS; i++) {
      let slot = query * POSITIONS + i;
      let visible = is_visible(query_position, chunk + i * LANES + lane);
      let weight = select(0.0, exp(min(scores[slot] - new_max, 0.0)), visible);
      running_sum[query] += weight;
      lane_publish(slot, lane, weight);
    }
  }
  lane_sync();
}

/// Adds the chunk's values by the published weights.
fn add_values(tile: Tile, chunk: u32, end: u32, lane: u32) {
  for (var j = 0u; j < min(CHUNK, end - chunk); j++) {
    let value = cache_vector(tile, chunk + j);
    for (var query = 0u; query < QUERIES; query++) {
      let weight = lane_read(query * POSITIONS + j / LANES, j % LANES);
      for (var v = 0u; v < VECTORS; v++) {
        let d = lane + v * LANES;
        if (d < HEAD_VECTORS) { result[query * VECTORS + v] += weight * unpack_kv(v_cache[value + d]); }
      }
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
