// Changes the bits of one word under a mask: for writes of 16-bit elements that begin or end in the middle of a word, since
// WebGPU copies whole words. Not an op of the catalogue.
//
// binding  dtype, shape  what
// words    u32 [words]   the tensor
// params
// grid: one invocation.
struct Params {
  word: u32,
  mask: u32,
  value: u32,
}
@group(0) @binding(0) var<storage, read_write> words: array<u32>;
@group(0) @binding(1) var<uniform> params: Params;

@compute @workgroup_size(1)
fn main() {
  words[params.word] = (words[params.word] & ~params.mask) | (params.value & params.mask);
}
