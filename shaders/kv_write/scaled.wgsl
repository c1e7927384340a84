// Writes the keys and values of the step's tokens to caches of codes, each vector of a head with its scale; slot NONE is skipped.
//
// binding       dtype, shape                                        what
// qkv           f32 [tokens, (heads + 2 kv_heads) headDim]
// slot_mapping  u32 [tokens]
// k_cache       i8 or f8e4m3 [blocks, kv_heads, block_size, headDim]  as raw words of four codes
// v_cache       i8 or f8e4m3 [blocks, kv_heads, block_size, headDim]  as raw words of four codes
// k_scales      f32 [blocks, kv_heads, block_size]
// v_scales      f32 [blocks, kv_heads, block_size]
// params        head_words: words of headDim in a cache; most: the largest code; is_float: codes are f8e4m3; key_start: the first
//               key in a row of qkv; stride: elements of that row
// grid: one group per token and head (keys, then values); lanes go along the words of the head.
// uses: sizes, paged, e4m3
// fragments: lanes = lanes_one | lanes_subgroup | lanes_workgroup
struct Params {
  tokens: u32,
  kv_heads: u32,
  head_words: u32,
  block_size: u32,
  key_start: u32,
  stride: u32,
  most: f32,
  is_float: u32,
}
@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> slot_mapping: array<u32>;
@group(0) @binding(2) var<storage, read_write> k_cache: array<u32>;
@group(0) @binding(3) var<storage, read_write> v_cache: array<u32>;
@group(0) @binding(4) var<storage, read_write> k_scales: array<f32>;
@group(0) @binding(5) var<storage, read_write> v_scales: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

const PUBLISHED = 1u;

fn four_of(start: u32, word: u32) -> vec4f {
  let at = start + word * 4u;
  return vec4f(qkv[at], qkv[at + 1u], qkv[at + 2u], qkv[at + 3u]);
}

fn codes_of(values: vec4f) -> u32 {
  let held = clamp(values, vec4f(-params.most), vec4f(params.most));
  if (params.is_float != 0u) { return pack_e4m3(held); }
  return pack4xI8(vec4i(round(held)));
}

fn run(group: u32, lane: u32) {
  let heads = 2u * params.kv_heads;
  if (group >= resolve_size(params.tokens) * heads) { return; }
  let token = group / heads;
  let head = group % heads;
  let start = token * params.stride + params.key_start + head * params.head_words * 4u;
  var largest = 0.0;
  for (var word = lane; word < params.head_words; word += LANES) {
    let values = abs(four_of(start, word));
    largest = max(largest, max(max(values.x, values.y), max(values.z, values.w)));
  }
  let scale = lane_max(largest) / params.most;
  let slot = slot_mapping[token];
  if (slot == NONE) { return; }
  let row =
    cache_row(slot / params.block_size, head % params.kv_heads, slot % params.block_size, params.kv_heads, params.block_size);
  let is_key = head < params.kv_heads;
  if (lane == 0u) {
    if (is_key) { k_scales[row] = scale; } else { v_scales[row] = scale; }
  }
  let divisor = select(1.0, scale, scale > 0.0);
  for (var word = lane; word < params.head_words; word += LANES) {
    let codes = codes_of(four_of(start, word) / divisor);
    let at = row * params.head_words + word;
    if (is_key) { k_cache[at] = codes; } else { v_cache[at] = codes; }
  }
}
