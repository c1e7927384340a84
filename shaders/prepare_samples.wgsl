// Fills the records of the positions whose logits are computed, from the sequences of the step.
//
// binding    dtype, shape                        what
// batch      u32 [1 + maxRows, BATCH_WORDS]
// sequences  u32 [sequences, SEQUENCE_WORDS]
// token_ids  u32 [maxRows, max_tokens]
// samples    u32 [samples, SAMPLE_WORDS]
// params
// grid: one workgroup per sequence, at least one; padding samples are shared among all.
// uses: sizes
// consts: WORKGROUP = 64
struct Params {
  sequences: u32,
  samples: u32,
  max_tokens: u32,
}
@group(0) @binding(0) var<storage, read_write> batch: array<u32>;
@group(0) @binding(1) var<storage, read_write> sequences: array<u32>;
@group(0) @binding(2) var<storage, read> token_ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> samples: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

fn write_sample(index: u32, token: u32, row: u32, position: u32, known: u32) {
  let at = index * SAMPLE_WORDS;
  samples[at + SAMPLE_TOKEN] = token;
  samples[at + SAMPLE_ROW] = row;
  samples[at + SAMPLE_POSITION] = position;
  samples[at + SAMPLE_TARGET] = known;
}

fn prepare_sequence(index: u32, lane: u32) {
  let at = index * SEQUENCE_WORDS;
  let row = sequences[at + SEQUENCE_ROW];
  let context = sequences[at + SEQUENCE_CONTEXT_LEN];
  let count = sequences[at + SEQUENCE_SAMPLE_COUNT];
  let query_end = sequences[at + SEQUENCE_QUERY_START] + sequences[at + SEQUENCE_QUERY_LEN];
  for (var i = lane; i < count; i += WORKGROUP) {
    let sample = sequences[at + SEQUENCE_SAMPLE_START] + i;
    if (context == 0u) {
      write_sample(sample, 0u, NONE, 0u, NONE);
      continue;
    }
    let position = context - count + i + 1u;
    var known = NONE;
    if (position < sequences[at + SEQUENCE_NUM_TOKENS]) { known = token_ids[row * params.max_tokens + position]; }
    write_sample(sample, query_end - count + i, row, position, known);
  }
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = workgroup.x + workgroup.y * workgroups.x;
  if (index < resolve_size(params.sequences)) { prepare_sequence(index, lane); }
  let stride = workgroups.x * workgroups.y * WORKGROUP;
  let padding = batch[HEADER_NUM_SAMPLES] + index * WORKGROUP + lane;
  for (var sample = padding; sample < resolve_size(params.samples); sample += stride) {
    write_sample(sample, 0u, NONE, 0u, NONE);
  }
}
