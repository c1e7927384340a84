// Masks the ids whose bit is not set in the mask of the sample's row, where the row has one. Samples with a target are copied.
// A lane owns every LANES-th id.
//
// binding  dtype, shape                         what
// logits   f32 [samples, vocabulary]            any buffer when in_place
// samples  u32 [samples, SAMPLE_WORDS]
// rows     u32 [maxRows, ROW_WORDS]
// masks    u32 [maxRows, words]                 bit id % 32 of word id / 32: the id may be sampled
// out      f32 [samples, vocabulary]            holds the logits when in_place
// params
// grid: one workgroup per sample.
// uses: sizes, vocabulary
struct Params {
  samples: u32,
  vocabulary: u32,
  words: u32,
  in_place: u32,
}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> samples: array<u32>;
@group(0) @binding(2) var<storage, read_write> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> masks: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

fn sample_count() -> u32 { return resolve_size(params.samples); }

fn run_sample(sample: u32, lane: u32) {
  let start = sample * params.vocabulary;
  if (params.in_place == 0u) {
    for (var id = lane; id < params.vocabulary; id += LANES) { out[start + id] = logits[start + id]; }
  }
  let record = sample * SAMPLE_WORDS;
  let row = samples[record + SAMPLE_ROW];
  if (row == NONE || samples[record + SAMPLE_TARGET] != NONE) { return; }
  if (rows[row * ROW_WORDS + ROW_MASKED] == 0u) { return; }
  let mask = row * params.words;
  for (var id = lane; id < params.vocabulary; id += LANES) {
    if (((masks[mask + id / 32u] >> (id % 32u)) & 1u) == 0u) { out[start + id] = MASKED_LOGIT; }
  }
}
