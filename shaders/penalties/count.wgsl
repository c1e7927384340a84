// First half of penalties: counts the tokens of each row that has any. Bit 31 of a count: the token is in the prompt.
//
// binding    dtype, shape                  what
// samples    u32 [samples, SAMPLE_WORDS]
// rows       u32 [maxRows, ROW_WORDS]
// token_ids  u32 [maxRows, max_tokens]
// counts     u32 [samples, vocabulary]     zero before; apply makes it zero again
// params
// grid: one workgroup per sample, whose lanes share the tokens.
// uses: sizes, penalty_row
// consts: WORKGROUP = 64
struct Params {
  samples: u32,
  vocabulary: u32,
  max_tokens: u32,
}
@group(0) @binding(0) var<storage, read_write> samples: array<u32>;
@group(0) @binding(1) var<storage, read_write> rows: array<u32>;
@group(0) @binding(2) var<storage, read_write> token_ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let sample = workgroup.x + workgroup.y * workgroups.x;
  if (sample >= resolve_size(params.samples) || !has_penalties(sample)) { return; }
  let row = samples[sample * SAMPLE_WORDS + SAMPLE_ROW];
  let prompt = rows[row * ROW_WORDS + ROW_PROMPT_TOKENS];
  let end = min(samples[sample * SAMPLE_WORDS + SAMPLE_POSITION], params.max_tokens);
  for (var i = lane; i < end; i += WORKGROUP) {
    let id = token_ids[row * params.max_tokens + i];
    if (id >= params.vocabulary) { continue; }
    if (i < prompt) {
      atomicOr(&counts[sample * params.vocabulary + id], COUNT_IN_PROMPT);
    } else {
      atomicAdd(&counts[sample * params.vocabulary + id], 1u);
    }
  }
}
