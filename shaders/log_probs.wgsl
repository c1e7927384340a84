// Log-softmax of each sample's logits: the chosen token with its rank, then the top_n largest in order. Zeros for samples
// without a row.
//
// binding      dtype, shape                  what
// logits       f32 [samples, vocabulary]
// samples      u32 [samples, SAMPLE_WORDS]
// sampled      u32 [samples, 2]              (token id, flags)
// logprobs     f32 [samples, 1 + top_n]      chosen, then the largest
// logprob_ids  u32 [samples, 2 + top_n]      chosen id, its rank, then the ids of the largest
// params
// grid: one workgroup per sample; one pass over the vocabulary per place of the top_n.
// uses: sizes, vocabulary, float_bits
struct Params {
  samples: u32,
  vocabulary: u32,
  top_n: u32,
}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> samples: array<u32>;
@group(0) @binding(2) var<storage, read_write> sampled: array<u32>;
@group(0) @binding(3) var<storage, read_write> logprobs: array<f32>;
@group(0) @binding(4) var<storage, read_write> logprob_ids: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;

fn sample_count() -> u32 { return resolve_size(params.samples); }

/// The best candidate that comes after `last` in the order of falling keys and rising ids.
fn best_after(lane: u32, start: u32, last: Candidate) -> Candidate {
  var best = Candidate(0u, NONE);
  for (var id = lane; id < params.vocabulary; id += LANES) {
    let key = ordered_key(logits[start + id]);
    if (key < last.key || (key == last.key && id > last.id)) { best = better(best, Candidate(key, id)); }
  }
  return workgroup_best(lane, best);
}

/// Terms that are added before they go to the sum: many small terms would get lost one by one in a large f32.
const RUN = 64u * LANES;

/// (log of the sum of exp, number of logits above the chosen one)
fn scan_row(lane: u32, start: u32, largest: f32, chosen: f32) -> vec2f {
  var sum = 0.0;
  var above = 0u;
  for (var first = 0u; first < params.vocabulary; first += RUN) {
    var part = 0.0;
    for (var id = first + lane; id < min(first + RUN, params.vocabulary); id += LANES) {
      let logit = logits[start + id];
      part += exp(max(logit - largest, -100.0));
      above += select(0u, 1u, logit > chosen);
    }
    sum += part;
  }
  let total = workgroup_sum(lane, sum);
  return vec2f(largest + log(total), f32(workgroup_count(lane, above)));
}

fn run_sample(sample: u32, lane: u32) {
  let values = sample * (1u + params.top_n);
  let ids = sample * (2u + params.top_n);
  if (workgroup_value(lane, samples[sample * SAMPLE_WORDS + SAMPLE_ROW]) == NONE) {
    for (var i = lane; i < 2u + params.top_n; i += LANES) {
      if (i < 1u + params.top_n) { logprobs[values + i] = 0.0; }
      logprob_ids[ids + i] = 0u;
    }
    return;
  }
  let start = sample * params.vocabulary;
  let chosen_id = workgroup_value(lane, sampled[2u * sample]);
  let chosen = logits[start + chosen_id];
  var best = best_after(lane, start, Candidate(NONE, NONE));
  let found = scan_row(lane, start, float_of_key(best.key), chosen);
  if (lane == 0u) {
    logprobs[values] = chosen - found.x;
    logprob_ids[ids] = chosen_id;
    logprob_ids[ids + 1u] = 1u + u32(found.y);
  }
  for (var place = 0u; place < params.top_n; place++) {
    if (place > 0u) { best = best_after(lane, start, best); }
    if (lane == 0u) {
      logprobs[values + 1u + place] = float_of_key(best.key) - found.x;
      logprob_ids[ids + 2u + place] = best.id;
    }
  }
}
