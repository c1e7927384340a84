// Adds each row's logit biases, and masks its stop ids while it has not the tokens that it must have. Samples with a target
// are copied. A lane owns every LANES-th id, so nothing is written by two lanes.
//
// binding  dtype, shape                  what
// logits   f32 [samples, vocabulary]     any buffer when in_place
// samples  u32 [samples, SAMPLE_WORDS]
// rows     u32 [maxRows, ROW_WORDS]
// biases   u32 [maxRows, words]          stop ids, then pairs (id, f32 bits)
// out      f32 [samples, vocabulary]     holds the logits when in_place
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
@group(0) @binding(3) var<storage, read_write> biases: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

fn sample_count() -> u32 { return resolve_size(params.samples); }

fn owns(lane: u32, id: u32) -> bool { return id < params.vocabulary && id % LANES == lane; }

fn run_sample(sample: u32, lane: u32) {
  let start = sample * params.vocabulary;
  if (params.in_place == 0u) {
    for (var id = lane; id < params.vocabulary; id += LANES) { out[start + id] = logits[start + id]; }
  }
  let record = sample * SAMPLE_WORDS;
  let row = samples[record + SAMPLE_ROW];
  if (row == NONE || samples[record + SAMPLE_TARGET] != NONE) { return; }
  let stops = rows[row * ROW_WORDS + ROW_NUM_STOP_IDS];
  let list = row * params.words;
  for (var i = 0u; i < rows[row * ROW_WORDS + ROW_NUM_BIASES]; i++) {
    let pair = list + stops + 2u * i;
    if (owns(lane, biases[pair])) { out[start + biases[pair]] += bitcast<f32>(biases[pair + 1u]); }
  }
  if (samples[record + SAMPLE_POSITION] >= rows[row * ROW_WORDS + ROW_MIN_TOKENS_UNTIL]) { return; }
  for (var i = 0u; i < stops; i++) {
    if (owns(lane, biases[list + i])) { out[start + biases[list + i]] = MASKED_LOGIT; }
  }
}
