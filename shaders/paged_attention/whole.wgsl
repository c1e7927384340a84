// Causal attention of the queries of each sequence over its pages: a group takes a tile of queries over all positions that they see, segment
// after segment (lib/attention.wgsl). Joined parts wait in `out` for the next segment.
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
// params        decode_sequences come first and have one token each, the others up to query_tokens
// grid: one group per sequence, head tile and token tile; of a decode row one per head tile.
// uses: sizes, attention
// fragments: lanes = lanes_one | lanes_subgroup | lanes_workgroup
// fragments: kv = kv_f32 | kv_f16 | kv_native_f16 | kv_i8 | kv_f8e4m3
struct Params {
  sequences: u32,
  decode_sequences: u32,
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

var<private> joined: array<Part, QUERIES>;

fn attend(tile: Tile, queries: u32, lane: u32) {
  let first = first_position(tile) / SEGMENT;
  let last = last_segment(tile);
  for (var segment = first; segment <= last; segment++) {
    sum_segment(tile, queries, segment, lane);
    join_segment(tile, queries, segment == first, segment == last, lane);
  }
}

/// Joins the part of a segment to those before it, and divides behind the last one.
fn join_segment(tile: Tile, queries: u32, is_first: bool, is_last: bool, lane: u32) {
  for (var query = 0u; query < queries; query++) {
    let part = Part(running_max[query], lane_sum(running_sum[query]));
    if (is_first) { joined[query] = Part(LOWEST, 0.0); }
    let scales = part_scales(joined[query], part);
    joined[query] = join_parts(joined[query], part, scales);
    if (query / TILE_HEADS >= tile.tokens) { continue; }
    for (var v = 0u; v < VECTORS; v++) {
      let d = lane + v * LANES;
      if (d < HEAD_VECTORS) {
        let at = out_vector(tile, query) + d;
        var value = vec4f();
        if (!is_first) { value = out[at]; }
        value = join_values(value, result[query * VECTORS + v], scales);
        if (is_last) { value /= joined[query].sum; }
        out[at] = value;
      }
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
  let head_tiles = params.heads / TILE_HEADS;
  let decode_groups = resolve_size(params.decode_sequences) * head_tiles;
  var sequence = group / head_tiles;
  var head_tile = group % head_tiles;
  var first = 0u;
  if (group >= decode_groups) {
    let tiles = (resolve_size(params.query_tokens) + TILE_TOKENS - 1u) / TILE_TOKENS;
    let other = (group - decode_groups) / tiles;
    sequence = resolve_size(params.decode_sequences) + other / head_tiles;
    head_tile = other % head_tiles;
    first = ((group - decode_groups) % tiles) * TILE_TOKENS;
  }
  if (sequence >= resolve_size(params.sequences)) { return; }
  let head = head_tile * TILE_HEADS;
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
  let tile = Tile(row, query_start + first, tokens, context - query_length + first, head, kv_head);
  // Each with loops of a constant length: a decode row beside prompts does not pay for a whole tile.
  if (TILE_TOKENS > 1u && tokens > 1u) {
    attend(tile, QUERIES, lane);
  } else {
    attend(tile, TILE_HEADS, lane);
  }
}
