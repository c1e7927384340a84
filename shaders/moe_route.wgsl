// The experts of each token: those of the largest logits in falling order, ties to the lowest id, and their shares of the softmax.
//
// binding   dtype, shape             what
// logits    f32 [rows, experts]
// experts   u32 [rows, chosen]
// shares    f32 [rows, chosen]       of all experts, or of the chosen ones where normalize is 1
// params
// grid: one invocation per row.
// uses: sizes, elements
struct Params {
  rows: u32,
  experts: u32,
  chosen: u32,
  normalize: u32,
}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> experts: array<u32>;
@group(0) @binding(2) var<storage, read_write> shares: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn element_count() -> u32 { return resolve_size(params.rows); }

/// The one that follows `last` (NONE: none) in the order.
fn next_expert(row: u32, last: u32) -> u32 {
  let start = row * params.experts;
  var best = NONE;
  for (var id = 0u; id < params.experts; id++) {
    let value = logits[start + id];
    if (last != NONE) {
      let before = logits[start + last];
      if (value > before || (value == before && id <= last)) { continue; }
    }
    if (best == NONE || value > logits[start + best]) { best = id; }
  }
  return select(best, 0u, best == NONE);
}

fn run_element(row: u32) {
  let start = row * params.experts;
  let to = row * params.chosen;
  var last = NONE;
  for (var j = 0u; j < params.chosen; j++) {
    last = next_expert(row, last);
    experts[to + j] = last;
  }
  let largest = logits[start + experts[to]];
  var total = 0.0;
  if (params.normalize == 0u) {
    for (var id = 0u; id < params.experts; id++) { total += exp(max(logits[start + id] - largest, -80.0)); }
  } else {
    for (var j = 0u; j < params.chosen; j++) { total += exp(max(logits[start + experts[to + j]] - largest, -80.0)); }
  }
  for (var j = 0u; j < params.chosen; j++) {
    shares[to + j] = exp(max(logits[start + experts[to + j]] - largest, -80.0)) / total;
  }
}
