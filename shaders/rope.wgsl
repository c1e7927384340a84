// Rotary position embedding: norms queries and keys of qkv where the op has norms, and rotates them, in place.
//
// binding    dtype, shape                                  what
// qkv        f32 [tokens, (heads + 2 kv_heads) head_dim]
// positions  u32 [tokens]
// table      f32 [positions, 2 pairs]
// q_norm     f32, f16 or bf16 [head_dim]                   any buffer when norm_dtype is NONE
// k_norm     the same dtype [head_dim]                     likewise
// params     stride: elements of a row of qkv; word_elements is 1
// grid: one group per token and head; lanes go along the head. The order of a norm's sum depends on the op only.
// uses: sizes, rotary
// fragments: lanes = lanes_one | lanes_subgroup | lanes_workgroup
struct Params {
  tokens: u32,
  heads: u32,
  kv_heads: u32,
  head_dim: u32,
  stride: u32,
  pairs: u32,
  interleaved: u32,
  norm_eps: f32,
  norm_dtype: u32,
  word_elements: u32,
  units: u32,
  rotary_units: u32,
  unit_pairs: u32,
}
@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> positions: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read> q_norm: array<u32>;
@group(0) @binding(4) var<storage, read> k_norm: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;

const PUBLISHED = 1u;

fn run(group: u32, lane: u32) {
  let heads = params.heads + params.kv_heads;
  if (group >= resolve_size(params.tokens) * heads) { return; }
  let token = group / heads;
  let head = group % heads;
  let start = token * params.stride + head * params.head_dim;
  let scale = head_scale(start, lane);
  for (var unit = lane; unit < params.units; unit += LANES) {
    turn_unit(start, unit, positions[token], head < params.heads, scale);
  }
}
