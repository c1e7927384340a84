// Rotary position embedding: rotates queries and keys of qkv in place.
//
// binding    dtype, shape                                  what
// qkv        f32 [tokens, (heads + 2 kvHeads) head_dim]
// positions  u32 [tokens]
// table      f32 [positions, 2 pairs]
// params     rotated_heads = heads + kvHeads; stride is the width of a row of qkv
// grid: one invocation per token, rotated head and pair.
// uses: sizes, elements, rotary
struct Params {
  tokens: u32,
  rotated_heads: u32,
  head_dim: u32,
  pairs: u32,
  stride: u32,
  interleaved: u32,
}
@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> positions: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn element_count() -> u32 { return resolve_size(params.tokens) * params.rotated_heads * params.pairs; }

fn run_element(index: u32) {
  let pair = index % params.pairs;
  let head = (index / params.pairs) % params.rotated_heads;
  let token = index / (params.pairs * params.rotated_heads);
  rotate_pair(token * params.stride + head * params.head_dim, positions[token], pair);
}
