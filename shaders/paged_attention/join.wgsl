// Rows of attention from the parts that paged_attention/split left, in a step of decode rows alone.
//
// binding    dtype, shape                                      what
// parts      f32 [sequences, heads, segments, headDim + 4]     as paged_attention/split writes them
// sequences  u32 [sequences, SEQUENCE_WORDS]                   of one token each: sequence i has row i
// out        f32 [tokens, heads headDim]                       as vec4; rows of spent sequences and padding become 0
// params     blocks: of the longest sequence, which gives the segments
// grid: one invocation per vector of out
// uses: sizes, elements, attention_parts
// consts: BLOCK_SIZE = 16
struct Params {
  sequences: u32,
  tokens: u32,
  blocks: u32,
  heads: u32,
  window: u32,
}
@group(0) @binding(0) var<storage, read_write> parts: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> sequences: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

fn element_count() -> u32 {
  return resolve_size(params.tokens) * params.heads * HEAD_VECTORS;
}

fn run_element(index: u32) {
  let d = index % HEAD_VECTORS;
  let row = index / HEAD_VECTORS;
  let context = context_of(row / params.heads);
  if (context == 0u) {
    out[index] = vec4f();
    return;
  }
  let segments = segments_of(resolve_size(params.blocks) * BLOCK_SIZE);
  var joined = Part(LOWEST, 0.0);
  var value = vec4f();
  for (var segment = window_begin(context - 1u) / SEGMENT; segment < segments_of(context); segment++) {
    let at = (row * segments + segment) * PART_VECTORS;
    let of_part = parts[at + HEAD_VECTORS];
    let part = Part(of_part.x, of_part.y);
    let scales = part_scales(joined, part);
    joined = join_parts(joined, part, scales);
    value = join_values(value, parts[at + d], scales);
  }
  out[index] = value / joined.sum;
}

/// Positions that the query of a token sees; 0 for spent sequences and padding.
fn context_of(token: u32) -> u32 {
  if (token >= resolve_size(params.sequences)) { return 0u; }
  let record = token * SEQUENCE_WORDS;
  if (sequences[record + SEQUENCE_QUERY_LEN] == 0u) { return 0u; }
  return sequences[record + SEQUENCE_CONTEXT_LEN];
}
