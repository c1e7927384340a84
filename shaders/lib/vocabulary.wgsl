// The frame of kernels that give one workgroup to each sample, whose lanes share its vocabulary: the entry point, which calls
// `run_sample(sample, lane)` of the kernel for each sample below `sample_count()`, and reductions over the lanes in lane order.
// All calls are in uniform control flow; `workgroup_value` makes values from memory fit to branch on.
// consts: LANES = 64
var<workgroup> lane_values: array<f32, LANES>;
var<workgroup> lane_words: array<u32, LANES>;
var<workgroup> common_word: u32;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let sample = workgroup.x + workgroup.y * workgroups.x;
  if (sample < sample_count()) { run_sample(sample, lane); }
}

/// The value of lane 0, the same for all.
fn workgroup_value(lane: u32, value: u32) -> u32 {
  workgroupBarrier();
  if (lane == 0u) { common_word = value; }
  return workgroupUniformLoad(&common_word);
}
fn workgroup_sum(lane: u32, value: f32) -> f32 {
  workgroupBarrier();
  lane_values[lane] = value;
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < LANES; i++) { total += lane_values[i]; }
  return total;
}
fn workgroup_count(lane: u32, value: u32) -> u32 {
  workgroupBarrier();
  lane_words[lane] = value;
  workgroupBarrier();
  var total = 0u;
  for (var i = 0u; i < LANES; i++) { total += lane_words[i]; }
  return total;
}
fn workgroup_max_key(lane: u32, key: u32) -> u32 {
  workgroupBarrier();
  lane_words[lane] = key;
  workgroupBarrier();
  var result = lane_words[0];
  for (var i = 1u; i < LANES; i++) { result = max(result, lane_words[i]); }
  return result;
}

/// A candidate of an argmax: its ordered key (0: none) and its id.
struct Candidate {
  key: u32,
  id: u32,
}
/// The larger key, the lower id among equals.
fn better(a: Candidate, b: Candidate) -> Candidate {
  if (b.key > a.key || (b.key == a.key && b.id < a.id)) { return b; }
  return a;
}
var<workgroup> lane_candidates: array<Candidate, LANES>;
fn workgroup_best(lane: u32, candidate: Candidate) -> Candidate {
  workgroupBarrier();
  lane_candidates[lane] = candidate;
  workgroupBarrier();
  var result = lane_candidates[0];
  for (var i = 1u; i < LANES; i++) { result = better(result, lane_candidates[i]); }
  return result;
}
