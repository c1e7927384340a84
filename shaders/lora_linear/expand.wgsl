// The second half of low-rank adapters: out += scale (hidden b^T) of each slice, with the b of each token's adapter.
//
// binding   dtype, shape                          what
// hidden    f32 [rows, slices rank]
// adapters  u32 [rows]                            NONE: the row of out stays as it is
// b         f32, f16 or bf16 [slots, columns, rank]
// scales    f32 [slots, slices]
// out       f32 [rows, columns]
// params                                          slices end before columns end_0, end_1, end_2; columns is the end of the last
// grid: one invocation per element of out, which adds along the rank: the order depends on the rank only.
// uses: sizes, elements, element
struct Params {
  rows: u32,
  columns: u32,
  rank: u32,
  slices: u32,
  end_0: u32,
  end_1: u32,
  end_2: u32,
  b_dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> hidden: array<f32>;
@group(0) @binding(1) var<storage, read_write> adapters: array<u32>;
@group(0) @binding(2) var<storage, read> b: array<u32>;
@group(0) @binding(3) var<storage, read> scales: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

fn element_count() -> u32 { return resolve_size(params.rows) * params.columns; }

fn run_element(index: u32) {
  let row = index / params.columns;
  let column = index % params.columns;
  let slot = adapters[row];
  if (slot == NONE) { return; }
  let slice = u32(column >= params.end_0) + u32(column >= params.end_1) + u32(column >= params.end_2);
  let hidden_at = (row * params.slices + slice) * params.rank;
  let b_at = (slot * params.columns + column) * params.rank;
  var sum = 0.0;
  for (var r = 0u; r < params.rank; r++) {
    sum += hidden[hidden_at + r] * element_value(params.b_dtype, b[element_word(params.b_dtype, b_at + r)], b_at + r);
  }
  out[index] += scales[slot * params.slices + slice] * sum;
}
