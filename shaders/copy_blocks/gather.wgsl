// First half of copyBlocks: reads the source block of every pair into scratch, so that all are read before any is written.
//
// binding  dtype, shape                what
// k_cache  raw words [blocks, words]
// v_cache  raw words [blocks, words]
// pairs    u32 [count, 2]              (from, to); pairs with NONE are skipped
// scratch  u32 [count, 2, words]
// params   words: of one block of one cache
// grid: one invocation per pair and word.
// uses: sizes, elements
struct Params {
  count: u32,
  words: u32,
}
@group(0) @binding(0) var<storage, read_write> k_cache: array<u32>;
@group(0) @binding(1) var<storage, read_write> v_cache: array<u32>;
@group(0) @binding(2) var<storage, read_write> pairs: array<u32>;
@group(0) @binding(3) var<storage, read_write> scratch: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

fn element_count() -> u32 { return resolve_size(params.count) * params.words; }

fn run_element(index: u32) {
  let pair = index / params.words;
  let word = index % params.words;
  let source = pairs[2u * pair];
  if (source == NONE || pairs[2u * pair + 1u] == NONE) { return; }
  scratch[2u * pair * params.words + word] = k_cache[source * params.words + word];
  scratch[(2u * pair + 1u) * params.words + word] = v_cache[source * params.words + word];
}
