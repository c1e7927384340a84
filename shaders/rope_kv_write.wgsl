// rope, then kv_write: rotates queries and keys of qkv in place, and writes the rotated keys and the values of the step's tokens
// to their cache slots; slot NONE is not written, but rotated.
//
// binding       dtype, shape                                        what
// qkv           f32 [tokens, (heads + 2 kv_heads) head_dim]
// positions     u32 [tokens]
// table         f32 [positions, 2 pairs]
// slot_mapping  u32 [tokens]
// k_cache       f32 or f16 [blocks, kv_heads, block_size, head_dim]  as raw words
// v_cache       f32 or f16 [blocks, kv_heads, block_size, head_dim]  as raw words
// params        word_elements: 1, or 2 for f16; stride: elements of a row of qkv; see below for the units
// grid: one invocation per token, head (queries, keys, values) and unit. head_dim is even for f16.
// A unit is the smallest part of a head that is whole pairs and whole words of the cache, so that no invocation reads what
// another one rotates: unit i < rotary_units has unit_pairs pairs, and unit_words words at i unit_step + j word_step. The units
// behind are one word each of what is not rotated. Units of a value are those of a key.
// uses: sizes, elements, paged, rotary, cache_word
struct Params {
  tokens: u32,
  heads: u32,
  kv_heads: u32,
  head_dim: u32,
  stride: u32,
  block_size: u32,
  pairs: u32,
  interleaved: u32,
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
@group(0) @binding(3) var<storage, read_write> slot_mapping: array<u32>;
@group(0) @binding(4) var<storage, read_write> k_cache: array<u32>;
@group(0) @binding(5) var<storage, read_write> v_cache: array<u32>;
@group(0) @binding(6) var<uniform> params: Params;

fn all_heads() -> u32 { return params.heads + 2u * params.kv_heads; }
fn element_count() -> u32 { return resolve_size(params.tokens) * all_heads() * params.units; }

/// Writes word `word` of a key (is_key) or value head to its place.
fn store_word(head_start: u32, row: u32, word: u32, is_key: bool) {
  let at = row * (params.head_dim / params.word_elements) + word;
  let value = cache_word(head_start + word * params.word_elements);
  if (is_key) { k_cache[at] = value; } else { v_cache[at] = value; }
}

fn run_element(index: u32) {
  let unit = index % params.units;
  let head = (index / params.units) % all_heads();
  let token = index / (params.units * all_heads());
  let head_start = token * params.stride + head * params.head_dim;
  let rotary = unit < params.rotary_units;
  if (rotary && head < params.heads + params.kv_heads) {
    for (var i = 0u; i < params.unit_pairs; i++) {
      rotate_pair(head_start, positions[token], unit * params.unit_pairs + i);
    }
  }
  let slot = slot_mapping[token];
  if (head < params.heads || slot == NONE) { return; }
  let is_key = head < params.heads + params.kv_heads;
  let kv_head = (head - params.heads) % params.kv_heads;
  let row = cache_row(slot / params.block_size, kv_head, slot % params.block_size, params.kv_heads, params.block_size);
  if (!rotary) {
    let rotated_words = 2u * params.pairs / params.word_elements;
    store_word(head_start, row, rotated_words + unit - params.rotary_units, is_key);
    return;
  }
  for (var i = 0u; i < params.unit_words; i++) {
    store_word(head_start, row, unit * params.unit_step + i * params.word_step, is_key);
  }
}
