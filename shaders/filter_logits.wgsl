// The smallest logit of each sample that survives min-p, then top-k, then top-p, on temperature-scaled probabilities.
// top-k and top-p are radix selects over the ordered bits of the logits: four passes of a 256-bin histogram, of counts, or of
// mass in integers, so that the result does not depend on the order in which lanes add.
//
// binding     dtype, shape                  what
// logits      f32 [samples, vocabulary]
// samples     u32 [samples, SAMPLE_WORDS]
// rows        u32 [maxRows, ROW_WORDS]
// thresholds  f32 [samples]
// params
// grid: one workgroup per sample.
// uses: sizes, vocabulary, float_bits, philox
struct Params {
  samples: u32,
  vocabulary: u32,
}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> samples: array<u32>;
@group(0) @binding(2) var<storage, read_write> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> thresholds: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

/// What a row asks for, and what is known of its logits so far.
struct Filter {
  start: u32,
  temperature: f32,
  min_p: f32,
  largest: f32,
  /// Keys below this one do not survive.
  smallest_key: u32,
  /// Sum of exp(z) over the survivors.
  total: f32,
}
var<private> filter_state: Filter;
var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> selected_bin: u32;
var<workgroup> still_needed: u32;

const MASS_UNIT = 2147483648.0;
const COUNTS = 0u;
const MASSES = 1u;
const WANTS_MIN_P = 1u;
const WANTS_TOP_K = 2u;
const WANTS_TOP_P = 4u;

fn sample_count() -> u32 { return resolve_size(params.samples); }

fn weight_of(logit: f32) -> f32 {
  return exp(max((logit - filter_state.largest) / filter_state.temperature, -100.0));
}
/// Survives min-p and what was selected so far. Masked logits do not.
fn survives(logit: f32) -> bool {
  if (ordered_key(logit) < filter_state.smallest_key || logit <= MASKED_LOGIT) { return false; }
  return weight_of(logit) >= filter_state.min_p;
}
fn amount(kind: u32, logit: f32) -> u32 {
  if (kind == COUNTS) { return 1u; }
  if (!survives(logit)) { return 0u; }
  return u32(floor(weight_of(logit) / filter_state.total * MASS_UNIT));
}

/// The largest key for which the amounts of logits with that key or a larger one reach `needed`; 0 when all of them do not.
fn select_key(lane: u32, kind: u32, needed: u32) -> u32 {
  var prefix = 0u;
  var rest = needed;
  for (var pass_index = 0u; pass_index < 4u; pass_index++) {
    let shift = 24u - 8u * pass_index;
    for (var bin = lane; bin < 256u; bin += LANES) { atomicStore(&histogram[bin], 0u); }
    workgroupBarrier();
    for (var id = lane; id < params.vocabulary; id += LANES) {
      let logit = logits[filter_state.start + id];
      let key = ordered_key(logit);
      // A shift by 32 is not defined, hence the two shifts.
      if (((key >> shift) >> 8u) == prefix) {
        let value = amount(kind, logit);
        if (value > 0u) { atomicAdd(&histogram[(key >> shift) & 255u], value); }
      }
    }
    workgroupBarrier();
    if (lane == 0u) { pick_bin(rest); }
    prefix = (prefix << 8u) | workgroupUniformLoad(&selected_bin);
    rest = workgroupUniformLoad(&still_needed);
  }
  return prefix;
}

/// The bin, from the top, in which the running sum reaches `needed`, and what of it is left for that bin.
fn pick_bin(needed: u32) {
  var rest = needed;
  selected_bin = 0u;
  for (var i = 0u; i < 256u; i++) {
    let value = atomicLoad(&histogram[255u - i]);
    if (value >= rest) {
      selected_bin = 255u - i;
      break;
    }
    rest -= value;
  }
  still_needed = rest;
}

/// ceil(share * total), exactly: share as a fraction of 2^32, and a product of 64 bits.
fn share_of(share: f32, total: u32) -> u32 {
  let fraction = u32(clamp(share, 0.0, 1.0) * 4294967296.0);
  let product = multiply_high(fraction, total);
  return max(1u, product + select(0u, 1u, fraction * total != 0u));
}

fn top_p_key(lane: u32, top_p: f32) -> u32 {
  var weights = 0.0;
  for (var id = lane; id < params.vocabulary; id += LANES) {
    let logit = logits[filter_state.start + id];
    if (survives(logit)) { weights += weight_of(logit); }
  }
  filter_state.total = workgroup_sum(lane, weights);
  var masses = 0u;
  for (var id = lane; id < params.vocabulary; id += LANES) {
    masses += amount(MASSES, logits[filter_state.start + id]);
  }
  return select_key(lane, MASSES, share_of(top_p, workgroup_count(lane, masses)));
}

/// The key of the smallest survivor.
fn smallest_survivor(lane: u32) -> u32 {
  var smallest = KEY_POSITIVE_INFINITY;
  for (var id = lane; id < params.vocabulary; id += LANES) {
    let logit = logits[filter_state.start + id];
    if (survives(logit)) { smallest = min(smallest, ordered_key(logit)); }
  }
  return ~workgroup_max_key(lane, ~smallest);
}

fn threshold_of(lane: u32, row: u32) -> f32 {
  let words = row * ROW_WORDS;
  let top_k = rows[words + ROW_TOP_K];
  let top_p = bitcast<f32>(rows[words + ROW_TOP_P]);
  filter_state.min_p = bitcast<f32>(rows[words + ROW_MIN_P]);
  filter_state.temperature = bitcast<f32>(rows[words + ROW_TEMPERATURE]);
  var wanted = select(0u, WANTS_MIN_P, filter_state.min_p > 0.0);
  wanted |= select(0u, WANTS_TOP_K, top_k > 0u && top_k < params.vocabulary);
  wanted |= select(0u, WANTS_TOP_P, top_p < 1.0);
  let filters = workgroup_value(lane, select(wanted, 0u, filter_state.temperature == 0.0));
  if (filters == 0u) { return NO_THRESHOLD; }
  var largest = 0u;
  for (var id = lane; id < params.vocabulary; id += LANES) {
    largest = max(largest, largest_key(logits[filter_state.start + id]));
  }
  largest = workgroup_value(lane, workgroup_max_key(lane, largest));
  if (largest >= KEY_POSITIVE_INFINITY) { return NO_THRESHOLD; }
  filter_state.largest = float_of_key(largest);
  if (largest <= ordered_key(MASKED_LOGIT)) { return filter_state.largest; }
  filter_state.smallest_key = 0u;
  if ((filters & WANTS_TOP_K) != 0u) { filter_state.smallest_key = select_key(lane, COUNTS, top_k); }
  if ((filters & WANTS_TOP_P) != 0u) { filter_state.smallest_key = top_p_key(lane, top_p); }
  return float_of_key(smallest_survivor(lane));
}

/// The key of a logit; that of +infinity for every NaN.
fn largest_key(logit: f32) -> u32 {
  if (is_finite(logit)) { return ordered_key(logit); }
  return select(KEY_POSITIVE_INFINITY, KEY_NEGATIVE_INFINITY, bitcast<u32>(logit) == 0xff800000u);
}

fn run_sample(sample: u32, lane: u32) {
  let row = samples[sample * SAMPLE_WORDS + SAMPLE_ROW];
  let open = row != NONE && samples[sample * SAMPLE_WORDS + SAMPLE_TARGET] == NONE;
  filter_state.start = sample * params.vocabulary;
  var threshold = NO_THRESHOLD;
  if (workgroup_value(lane, u32(open)) != 0u) { threshold = threshold_of(lane, row); }
  if (lane == 0u) { thresholds[sample] = threshold; }
}
