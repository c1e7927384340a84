// Writes the keys and values of the step's tokens to their cache slots; slot NONE is skipped.
//
// binding       dtype, shape                                      what
// qkv           f32 [tokens, (heads + 2 kv_heads) headDim]        as vec4
// slot_mapping  u32 [tokens]
// k_cache       f32 or f16 [blocks, kv_heads, block_size, headDim]
// v_cache       f32 or f16 [blocks, kv_heads, block_size, headDim]
// params        head_vectors = headDim / 4; key_start is the vector of the first key in a row of qkv, stride its width
// grid: one invocation per token, KV head and four elements of headDim; it writes a key and a value. headDim is a multiple of 4.
// uses: sizes, elements, paged
// fragments: kv = kv_f32 | kv_f16
struct Params {
  tokens: u32,
  kv_heads: u32,
  head_vectors: u32,
  block_size: u32,
  key_start: u32,
  stride: u32,
}
@group(0) @binding(0) var<storage, read_write> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> slot_mapping: array<u32>;
@group(0) @binding(2) var<storage, read_write> k_cache: array<KvWord>;
@group(0) @binding(3) var<storage, read_write> v_cache: array<KvWord>;
@group(0) @binding(4) var<uniform> params: Params;

fn element_count() -> u32 { return resolve_size(params.tokens) * params.kv_heads * params.head_vectors; }

fn run_element(index: u32) {
  let vector = index % params.head_vectors;
  let head = (index / params.head_vectors) % params.kv_heads;
  let token = index / (params.head_vectors * params.kv_heads);
  let slot = slot_mapping[token];
  if (slot == NONE) { return; }
  let key = token * params.stride + params.key_start + head * params.head_vectors + vector;
  let row = cache_row(slot / params.block_size, head, slot % params.block_size, params.kv_heads, params.block_size);
  let at = row * params.head_vectors + vector;
  k_cache[at] = pack_kv(qkv[key]);
  v_cache[at] = pack_kv(qkv[key + params.kv_heads * params.head_vectors]);
}
