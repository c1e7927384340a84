// Chooses a token for each sample. Greedy rows: the largest logit. Others: the largest logit / temperature + Gumbel noise among
// logits that reach the row's threshold, with Philox noise keyed by seed, position and token id.
//
// binding     dtype, shape                  what
// logits      f32 [samples, vocabulary]
// thresholds  f32 [samples]
// samples     u32 [samples, SAMPLE_WORDS]
// rows        u32 [maxRows, ROW_WORDS]
// sampled     u32 [samples, 2]              (token id, flags)
// params
// grid: one workgroup per sample; a lane takes four neighbouring ids at a time, whose noise comes from one Philox block.
// uses: sizes, sampled_pair, philox
struct Params {
  samples: u32,
  vocabulary: u32,
}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> thresholds: array<f32>;
@group(0) @binding(2) var<storage, read_write> samples: array<u32>;
@group(0) @binding(3) var<storage, read_write> rows: array<u32>;
@group(0) @binding(4) var<storage, read_write> sampled: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;

fn sample_count() -> u32 { return resolve_size(params.samples); }

fn run_sample(sample: u32, lane: u32) {
  let row = workgroup_value(lane, samples[sample * SAMPLE_WORDS + SAMPLE_ROW]);
  if (row == NONE) {
    write_no_pair(sample, lane);
    return;
  }
  let temperature = bitcast<f32>(rows[row * ROW_WORDS + ROW_TEMPERATURE]);
  let start = sample * params.vocabulary;
  var scan = Scan(Candidate(0u, NONE), true);
  for (var first = lane * 4u; first < params.vocabulary; first += LANES * 4u) {
    let end = min(4u, params.vocabulary - first);
    if (temperature == 0.0) {
      for (var i = 0u; i < end; i++) {
        let logit = logits[start + first + i];
        scan_token(&scan, first + i, logit, logit);
      }
    } else {
      scan_noisy(&scan, sample, row, temperature, start, first, end);
    }
  }
  write_pair(sample, lane, scan);
}

fn scan_noisy(
  scan: ptr<function, Scan>,
  sample: u32,
  row: u32,
  temperature: f32,
  start: u32,
  first: u32,
  end: u32,
) {
  let threshold = thresholds[sample];
  var words = vec4u();
  var drawn = false;
  for (var i = 0u; i < end; i++) {
    let logit = logits[start + first + i];
    (*scan).finite = (*scan).finite && is_finite(logit);
    if (!is_finite(logit) || logit < threshold) { continue; }
    if (!drawn) {
      let position = samples[sample * SAMPLE_WORDS + SAMPLE_POSITION];
      let key = vec2u(rows[row * ROW_WORDS + ROW_SEED_LOW], rows[row * ROW_WORDS + ROW_SEED_HIGH]);
      words = philox(vec4u(first >> 2u, position, 0u, 0u), key);
      drawn = true;
    }
    scan_token(scan, first + i, logit, logit / temperature + gumbel(words[i]));
  }
}
