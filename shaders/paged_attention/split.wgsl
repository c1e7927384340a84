// Attention of decode rows, one segment of positions in a group (lib/attention.wgsl), so that a few sequences with long contexts fill a GPU.
// paged_attention/join makes rows of the parts.
//
// binding       dtype, shape                                      what
// qkv           f32 [tokens, (heads + 2 kvHeads) headDim]         as vec4
// k_cache       any of the kv_* fragments [blocks, kv_heads, block_size, headDim]
// v_cache       any of the kv_* fragments [blocks, kv_heads, block_size, headDim]
// sequences     u32 [sequences, SEQUENCE_WORDS]                   of one token each
// block_tables  u32 [maxRows, max_blocks]
// parts         f32 [sequences, heads, segments, headDim + 4]     as vec4: values not yet divided, then largest, sum, 0, 0
// k_scales      f32 [blocks, kv_heads, block_size]                of codes; any buffer otherwise
// v_scales      f32 [blocks, kv_heads, block_size]                of codes; any buffer otherwise
// params        blocks: of the longest sequence, which gives the segments
// grid: one group per sequence, head tile and segment. Segments that a query does not see are left as they are.
// uses: sizes, attention
// fragments: lanes = lanes_one | lanes_subgroup | lanes_workgroup
// fragments: kv = kv_f32 | kv_f16 | kv_native_f16 | kv_i8 | kv_f8e4m3
struct Params {
  sequences: u32,
  blocks: u32,
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
@group(0) @binding(5) var<storage, read_write> parts: array<vec4f>;
@group(0) @binding(6) var<storage, read> k_scales: array<f32>;
@group(0) @binding(7) var<storage, read> v_scales: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;

fn run(group: u32, lane: u32) {
  let segments = segments_of(resolve_size(params.blocks) * BLOCK_SIZE);
  let head_tiles = params.heads / TILE_HEADS;
  let sequence = group / (segments * head_tiles);
  if (sequence >= resolve_size(params.sequences)) { return; }
  let head = ((group / segments) % head_tiles) * TILE_HEADS;
  let segment = group % segments;
  let record = sequence * SEQUENCE_WORDS;
  let query_start = lane_uniform(sequences[record + SEQUENCE_QUERY_START]);
  let context = lane_uniform(sequences[record + SEQUENCE_CONTEXT_LEN]);
  let row = lane_uniform(sequences[record + SEQUENCE_ROW]);
  if (context == 0u) { return; }
  let tile = Tile(row, query_start, 1u, context - 1u, head, head * params.kv_heads / params.heads);
  if (segment < first_position(tile) / SEGMENT || segment > last_segment(tile)) { return; }
  sum_segment(tile, QUERIES, segment, lane);
  for (var query = 0u; query < QUERIES; query++) {
    let sum = lane_sum(running_sum[query]);
    let part = ((sequence * params.heads + head + query) * segments + segment) * PART_VECTORS;
    for (var v = 0u; v < VECTORS; v++) {
      let d = lane + v * LANES;
      if (d < HEAD_VECTORS) { parts[part + d] = result[query * VECTORS + v]; }
    }
    if (lane == 0u) { parts[part + HEAD_VECTORS] = vec4f(running_max[query], sum, 0.0, 0.0); }
  }
}
