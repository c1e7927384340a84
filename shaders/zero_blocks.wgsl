// cache[block] = 0 for each entry of blocks; NONE is skipped.
//
// binding  dtype, shape                what
// k_cache  raw words [blocks, words]
// v_cache  raw words [blocks, words]
// blocks   u32 [count]
// params   words: of one block of one cache
// grid: one invocation per entry and word.
// uses: sizes, elements
struct Params {
  count: u32,
  words: u32,
}
@group(0) @binding(0) var<storage, read_write> k_cache: array<u32>;
@group(0) @binding(1) var<storage, read_write> v_cache: array<u32>;
@group(0) @binding(2) var<storage, read_write> blocks: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

fn element_count() -> u32 { return resolve_size(params.count) * params.words; }

fn run_element(index: u32) {
  let block = blocks[index / params.words];
  if (block == NONE) { return; }
  let at = block * params.words + index % params.words;
  k_cache[at] = 0u;
  v_cache[at] = 0u;
}
