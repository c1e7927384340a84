// The token with the largest logit of each sample, the lowest id among equals; a sample with a target keeps it.
//
// binding  dtype, shape                  what
// logits   f32 [samples, vocabulary]
// samples  u32 [samples, SAMPLE_WORDS]
// sampled  u32 [samples, 2]              (token id, flags)
// params
// grid: one workgroup per sample.
// uses: sizes, sampled_pair
struct Params {
  samples: u32,
  vocabulary: u32,
}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> samples: array<u32>;
@group(0) @binding(2) var<storage, read_write> sampled: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

fn sample_count() -> u32 { return resolve_size(params.samples); }

fn run_sample(sample: u32, lane: u32) {
  if (workgroup_value(lane, samples[sample * SAMPLE_WORDS + SAMPLE_ROW]) == NONE) {
    write_no_pair(sample, lane);
    return;
  }
  var scan = Scan(Candidate(0u, NONE), true);
  let start = sample * params.vocabulary;
  for (var id = lane; id < params.vocabulary; id += LANES) {
    let logit = logits[start + id];
    scan_token(&scan, id, logit, logit);
  }
  write_pair(sample, lane, scan);
}
