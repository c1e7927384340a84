// rope, then kv_write: norms queries and keys of qkv where the op has norms, rotates them, in place, and writes these keys and the
// values of the step's tokens to their cache slots; slot NONE is not written, but rotated.
//
// binding       dtype, shape                                        what
// qkv           f32 [tokens, (heads + 2 kv_heads) head_dim]
// positions     u32 [tokens]
// table         f32 [positions, 2 pairs]
// q_norm        f32, f16 or bf16 [head_dim]                         any buffer when norm_dtype is NONE
// k_norm        the same dtype [head_dim]                           likewise
// slot_mapping  u32 [tokens]
// k_cache       f32 or f16 [blocks, kv_heads, block_size, head_dim]  as raw words
// v_cache       f32 or f16 [blocks, kv_heads, block_size, head_dim]  as raw words
// params        word_elements: 1, or 2 for f16; stride: elements of a row of qkv; a rotated unit has unit_words words of the cache,
//               at unit * unit_step + i word_step
// grid: one group per token and head (queries, keys, values); lanes go along the units of the head. head_dim is even for f16.
// Units of a value are those of a key. The order of a norm's sum depends on the op only.
// uses: sizes, paged, rotary, cache_word
// fragments: lanes = lanes_one | lanes_subgroup | lanes_workgroup
struct Params {
  tokens: u32,
  heads: u32,
  kv_heads: u32,
  head_dim: u32,
  stride: u32,
  block_size: u32,
  pairs: u32,
  interleaved: u32,
  norm_eps: f32,
  norm_dtype: u32,
  word_elements: u32,
  units: u32,
  rotary_units: u32,
  unit_pairs: u32,
  unit_words: u32,
  unit_step: u32,
  word_step: u32,
}
@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> positions: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read> q_norm: array<u32>;
@group(0) @binding(4) var<storage, read> k_norm: array<u32>;
@group(0) @binding(5) var<storage, read_write> slot_mapping: array<u32>;
@group(0) @binding(6) var<storage, read_write> k_cache: array<u32>;
@group(0) @binding(7) var<storage, read_write> v_cache: array<u32>;
@group(0) @binding(8) var<uniform> params: Params;

const PUBLISHED = 1u;

/// Writes word `word` of a key (is_key) or value head to its place.
fn store_word(start: u32, row: u32, word: u32, is_key: bool) {
  let at = row * (params.head_dim / params.word_elements) + word;
  let value = cache_word(start + word * params.word_elements);
  if (is_key) { k_cache[at] = value; } else { v_cache[at] = value; }
}

fn store_unit(start: u32, row: u32, unit: u32, is_key: bool) {
  if (unit >= params.rotary_units) {
    store_word(start, row, rest_of(unit) / params.word_elements, is_key);
    return;
  }
  for (var i = 0u; i < params.unit_words; i++) {
    store_word(start, row, unit * params.unit_step + i * params.word_step, is_key);
  }
}

fn run(group: u32, lane: u32) {
  let turned_heads = params.heads + params.kv_heads;
  let all_heads = turned_heads + params.kv_heads;
  if (group >= resolve_size(params.tokens) * all_heads) { return; }
  let token = group / all_heads;
  let head = group % all_heads;
  let start = token * params.stride + head * params.head_dim;
  if (head < turned_heads) {
    let scale = head_scale(start, lane);
    for (var unit = lane; unit < params.units; unit += LANES) {
      turn_unit(start, unit, positions[token], head < params.heads, scale);
    }
  }
  let slot = slot_mapping[token];
  if (head < params.heads || slot == NONE) { return; }
  let kv_head = (head - params.heads) % params.kv_heads;
  let row = cache_row(slot / params.block_size, kv_head, slot % params.block_size, params.kv_heads, params.block_size);
  for (var unit = lane; unit < params.units; unit += LANES) { store_unit(start, row, unit, head < turned_heads); }
}
