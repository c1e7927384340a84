// Second half of penalties: repetition (Keskar et al. 2019), then frequency, then presence penalty, from the counts, which are
// left zero for the next run. Masked logits stay as they are: a penalty would make them infinite.
//
// binding  dtype, shape                  what
// logits   f32 [samples, vocabulary]     any buffer when in_place
// samples  u32 [samples, SAMPLE_WORDS]
// rows     u32 [maxRows, ROW_WORDS]
// counts   u32 [samples, vocabulary]
// out      f32 [samples, vocabulary]     holds the logits when in_place
// params
// grid: one invocation per logit.
// uses: sizes, elements, penalty_row
struct Params {
  samples: u32,
  vocabulary: u32,
  in_place: u32,
}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> samples: array<u32>;
@group(0) @binding(2) var<storage, read_write> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> counts: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

fn element_count() -> u32 { return resolve_size(params.samples) * params.vocabulary; }

fn run_element(index: u32) {
  if (params.in_place == 0u) { out[index] = logits[index]; }
  let sample = index / params.vocabulary;
  if (!has_penalties(sample)) { return; }
  let count = counts[index];
  if (count == 0u) { return; }
  counts[index] = 0u;
  let words = samples[sample * SAMPLE_WORDS + SAMPLE_ROW] * ROW_WORDS;
  let repetition = bitcast<f32>(rows[words + ROW_REPETITION_PENALTY]);
  var logit = out[index];
  if (logit <= MASKED_LOGIT) { return; }
  if (logit <= MASKED_LOGIT) { return; }
  logit = select(logit * repetition, logit / repetition, logit > 0.0);
  let in_output = count & ~COUNT_IN_PROMPT;
  logit -= bitcast<f32>(rows[words + ROW_FREQUENCY_PENALTY]) * f32(in_output);
  if (in_output > 0u) { logit -= bitcast<f32>(rows[words + ROW_PRESENCE_PENALTY]); }
  out[index] = logit;
}
