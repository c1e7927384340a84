// The end of the ops that choose a token: what a lane has seen of a row of logits, and the sampled pair that comes of it.
// The kernel declares bindings logits, samples and sampled.
// uses: vocabulary, float_bits

struct Scan {
  best: Candidate,
  finite: bool,
}

/// Takes one more token with its score (the logit itself when greedy). NaNs are never chosen.
fn scan_token(scan: ptr<function, Scan>, id: u32, logit: f32, score: f32) {
  (*scan).finite = (*scan).finite && is_finite(logit);
  let key = ordered_key(score);
  if (key <= KEY_POSITIVE_INFINITY && key > KEY_NEGATIVE_INFINITY) { (*scan).best = better((*scan).best, Candidate(key, id)); }
}

/// Writes the pair of a sample: its target if it has one, else the best of all lanes.
fn write_pair(sample: u32, lane: u32, scan: Scan) {
  let best = workgroup_best(lane, scan.best);
  let broken = workgroup_count(lane, select(1u, 0u, scan.finite));
  if (lane != 0u) { return; }
  let known = samples[sample * SAMPLE_WORDS + SAMPLE_TARGET];
  let chosen = select(best.id, 0u, best.key == 0u);
  sampled[2u * sample] = select(known, chosen, known == NONE);
  sampled[2u * sample + 1u] = FLAG_LIVE | select(0u, FLAG_FINITE, broken == 0u);
}

/// The pair of a sample without a row.
fn write_no_pair(sample: u32, lane: u32) {
  if (lane != 0u) { return; }
  sampled[2u * sample] = NONE;
  sampled[2u * sample + 1u] = 0u;
}
