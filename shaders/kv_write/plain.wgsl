// Writes the keys and values of the step's tokens to their cache slots; slot NONE is skipped.
//
// binding       dtype, shape                                      what
// qkv           f32 [tokens, (heads + 2 kv_heads) headDim]
// slot_mapping  u32 [tokens]
// k_cache       f32 or f16 [blocks, kv_heads, block_size, headDim]  as raw words
// v_cache       f32 or f16 [blocks, kv_heads, block_size, headDim]  as raw words
// params        head_words: words of headDim in a cache; word_elements: 1, or 2 for f16; key_start: the first key in a row of
//               qkv; stride: elements of that row
// grid: one invocation per token, KV head and word of headDim; it writes a key and a value. headDim is even for f16.
// uses: sizes, elements, paged, cache_word
struct Params {
  tokens: u32,
  kv_heads: u32,
  head_words: u32,
  word_elements: u32,
  block_size: u32,
  key_start: u32,
  stride: u32,
}
@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> slot_mapping: array<u32>;
@group(0) @binding(2) var<storage, read_write> k_cache: array<u32>;
@group(0) @binding(3) var<storage, read_write> v_cache: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

fn element_count() -> u32 { return resolve_size(params.tokens) * params.kv_heads * params.head_words; }

fn run_element(index: u32) {
  let word = index % params.head_words;
  let head = (index / params.head_words) % params.kv_heads;
  let token = index / (params.head_words * params.kv_heads);
  let slot = slot_mapping[token];
  if (slot == NONE) { return; }
  let head_dim = params.head_words * params.word_elements;
  let key = token * params.stride + params.key_start + head * head_dim + word * params.word_elements;
  let row = cache_row(slot / params.block_size, head, slot % params.block_size, params.kv_heads, params.block_size);
  let at = row * params.head_words + word;
  k_cache[at] = cache_word(key);
  v_cache[at] = cache_word(key + params.kv_heads * head_dim);
}
