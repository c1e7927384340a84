// out[i] = x[samples[i].token]: the hidden states whose logits are computed.
//
// binding  dtype, shape                  what
// x        f32 [tokens, width]
// samples  u32 [samples, SAMPLE_WORDS]
// out      f32 [samples, width]
// params
// grid: one invocation per element of out.
// uses: sizes, elements
struct Params {
  samples: u32,
  width: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> samples: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn element_count() -> u32 { return resolve_size(params.samples) * params.width; }

fn run_element(index: u32) {
  let token = samples[(index / params.width) * SAMPLE_WORDS + SAMPLE_TOKEN];
  out[index] = x[token * params.width + index % params.width];
}
