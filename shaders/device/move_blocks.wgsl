// Moves whole cache blocks between one kvCache tensor and a staging buffer in which all tensors of a block lie one after
// another: the host tier's layout. Not an op of the catalogue.
//
// binding  dtype, shape             what
// cache    u32 [blocks, words]      a cache tensor as raw words
// blocks   u32 [count]              block ids
// staging  u32 [count, stride]      one record per entry of blocks
// params
// grid: one invocation per word of a block and entry.
// uses: elements
struct Params {
  count: u32,
  block_words: u32,
  stride: u32,
  offset: u32,
  to_staging: u32,
}
@group(0) @binding(0) var<storage, read_write> cache: array<u32>;
@group(0) @binding(1) var<storage, read> blocks: array<u32>;
@group(0) @binding(2) var<storage, read_write> staging: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

fn element_count() -> u32 { return params.count * params.block_words; }

fn run_element(index: u32) {
  let entry = index / params.block_words;
  let word = index % params.block_words;
  let in_cache = blocks[entry] * params.block_words + word;
  let in_staging = entry * params.stride + params.offset + word;
  if (params.to_staging != 0u) {
    staging[in_staging] = cache[in_cache];
  } else {
    cache[in_cache] = staging[in_staging];
  }
}
