// Hidden states of whole sequences, into the row of each: of the last token, or the sum over all of them.
//
// binding    dtype, shape                       what
// x          f32 [tokens, width]
// sequences  u32 [sequences, SEQUENCE_WORDS]
// out        f32 [max_rows, width]              a sum goes on from what is there, unless a sequence begins
// params
// grid: one invocation per sequence and column.
// uses: sizes, elements
struct Params {
  sequences: u32,
  width: u32,
  sum: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> sequences: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn element_count() -> u32 { return resolve_size(params.sequences) * params.width; }

fn run_element(index: u32) {
  let at = (index / params.width) * SEQUENCE_WORDS;
  if (sequences[at + SEQUENCE_CONTEXT_LEN] == 0u) { return; }
  let column = index % params.width;
  let to = sequences[at + SEQUENCE_ROW] * params.width + column;
  let start = sequences[at + SEQUENCE_QUERY_START];
  let end = start + sequences[at + SEQUENCE_QUERY_LEN];
  if (params.sum == 0u) {
    out[to] = x[(end - 1u) * params.width + column];
    return;
  }
  var total = 0.0;
  if (sequences[at + SEQUENCE_FIRST_POSITION] > 0u) { total = out[to]; }
  for (var token = start; token < end; token++) { total += x[token * params.width + column]; }
  out[to] = total;
}
