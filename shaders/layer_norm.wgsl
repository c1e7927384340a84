// Layer norm of each row: out = (x - mean) / sqrt(variance + eps) * weight + bias.
//
// binding  dtype, shape                what
// x        f32 [rows, width]
// out      f32 [rows, width]
// weight   f32, f16 or bf16 [width]
// bias     the same dtype [width]      any buffer when has_bias is 0
// params
// grid: one group per row; lanes go along the row. Sums of lane partials, in an order that depends on width only.
// uses: sizes, element
// fragments: lanes = lanes_one | lanes_subgroup | lanes_workgroup
struct Params {
  rows: u32,
  width: u32,
  eps: f32,
  weight_dtype: u32,
  has_bias: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<u32>;
@group(0) @binding(3) var<storage, read> bias: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

const PUBLISHED = 1u;

fn run(group: u32, lane: u32) {
  if (group >= resolve_size(params.rows)) { return; }
  let start = group * params.width;
  var sum = 0.0;
  for (var column = lane; column < params.width; column += LANES) { sum += x[start + column]; }
  let mean = lane_sum(sum) / f32(params.width);
  var squares = 0.0;
  for (var column = lane; column < params.width; column += LANES) {
    let centred = x[start + column] - mean;
    squares += centred * centred;
  }
  let scale = 1.0 / sqrt(lane_sum(squares) / f32(params.width) + params.eps);
  for (var column = lane; column < params.width; column += LANES) {
    let at = element_word(params.weight_dtype, column);
    var value = (x[start + column] - mean) * scale * element_value(params.weight_dtype, weight[at], column);
    if (params.has_bias != 0u) { value += element_value(params.weight_dtype, bias[at], column); }
    out[start + column] = value;
  }
}
