// RMS norm of some columns of each row, in place: columns = columns / sqrt(mean(columns^2) + eps) * weight.
//
// binding  dtype, shape               what
// x        f32 [rows, stride]         columns [first, first + width) change
// weight   f32, f16 or bf16 [width]
// params
// grid: one group per row; lanes go along the columns. The order of the sum depends on width only.
// uses: sizes, element
// fragments: lanes = lanes_one | lanes_subgroup | lanes_workgroup
struct Params {
  rows: u32,
  stride: u32,
  first: u32,
  width: u32,
  eps: f32,
  weight_dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

const PUBLISHED = 1u;

fn run(group: u32, lane: u32) {
  if (group >= resolve_size(params.rows)) { return; }
  let start = group * params.stride + params.first;
  var squares = 0.0;
  for (var column = lane; column < params.width; column += LANES) {
    let value = x[start + column];
    squares += value * value;
  }
  let scale = 1.0 / sqrt(lane_sum(squares) / f32(params.width) + params.eps);
  for (var column = lane; column < params.width; column += LANES) {
    let word = weight[element_word(params.weight_dtype, column)];
    x[start + column] *= scale * element_value(params.weight_dtype, word, column);
  }
}
