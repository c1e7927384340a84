// Attention in parts, one for each segment of positions: the largest score, the sum of the weights relative to it, and the weighted sum of
// the values. Parts are joined in the order of the segments, from nothing on, by the same operations wherever they were computed: how many
// groups share a sequence changes no bit. The kernel has this of Params: window.
// consts: HEAD_VECTORS = 16, SEGMENT = 256

/// Vectors of a part in memory: the values, then the largest score and the sum.
const PART_VECTORS = HEAD_VECTORS + 1u;
/// Below every score, and finite.
const LOWEST = -3.0e38;

struct Part {
  largest: f32,
  sum: f32,
}

/// What the values of the parts so far, and those of the next one, are multiplied by.
fn part_scales(so_far: Part, next: Part) -> vec2f {
  return exp(vec2f(so_far.largest, next.largest) - max(so_far.largest, next.largest));
}
fn join_parts(so_far: Part, next: Part, scales: vec2f) -> Part {
  return Part(max(so_far.largest, next.largest), fma(next.sum, scales.y, so_far.sum * scales.x));
}
fn join_values(so_far: vec4f, next: vec4f, scales: vec2f) -> vec4f {
  return fma(next, vec4f(scales.y), so_far * scales.x);
}

fn segments_of(positions: u32) -> u32 {
  return (positions + SEGMENT - 1u) / SEGMENT;
}

/// The first position that the query at a position sees.
fn window_begin(query_position: u32) -> u32 {
  return select(0u, query_position + 1u - params.window, params.window != 0u && query_position >= params.window);
}
