// RMS norm of each row: out = x / sqrt(mean(x^2) + eps) * weight. With a residual, sum = x + residual is stored and normed
// instead; sum may lie in residual (residual_mode).
//
// binding   dtype, shape                what
// x         f32 [rows, width]
// residual  f32 [rows, width]           read in mode RESIDUAL_READ; any buffer otherwise
// sum       f32 [rows, width]           written with a residual; holds the residual in mode RESIDUAL_IN_SUM
// out       f32 [rows, width]
// weight    f32, f16 or bf16 [width]
// params
// grid: one group per row; lanes go along the row. The order of the sum depends on width only.
// uses: sizes, element, rms
// fragments: lanes = lanes_one | lanes_subgroup | lanes_workgroup
struct Params {
  rows: u32,
  width: u32,
  eps: f32,
  residual_mode: u32,
  weight_dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> residual: array<f32>;
@group(0) @binding(2) var<storage, read_write> sum: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<storage, read> weight: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;

const PUBLISHED = 1u;
const RESIDUAL_NONE = 0u;
const RESIDUAL_READ = 1u;
const RESIDUAL_IN_SUM = 2u;

fn input_value(index: u32) -> f32 {
  switch (params.residual_mode) {
    case RESIDUAL_NONE: { return x[index]; }
    case RESIDUAL_READ: { return x[index] + residual[index]; }
    default: { return x[index] + sum[index]; }
  }
}

/// Squares so far and that of a further column.
fn add_square(squares: f32, index: u32) -> f32 {
  let value = input_value(index);
  // Each lane reads back only what it wrote, so no barrier is needed.
  if (params.residual_mode != RESIDUAL_NONE) { sum[index] = value; }
  return fma(value, value, squares);
}

fn store(start: u32, column: u32, scale: f32) {
  let word = weight[element_word(params.weight_dtype, column)];
  out[start + column] = read_back(start + column) * scale * element_value(params.weight_dtype, word, column);
}

fn read_back(index: u32) -> f32 {
  if (params.residual_mode == RESIDUAL_NONE) { return x[index]; }
  return sum[index];
}

fn run(group: u32, lane: u32) {
  if (group >= resolve_size(params.rows)) { return; }
  let start = group * params.width;
  let whole = params.width - params.width % 4u;
  var squares = 0.0;
  for (var column = 4u * lane; column < whole; column += 4u * LANES) {
    squares = add_square(squares, start + column);
    squares = add_square(squares, start + column + 1u);
    squares = add_square(squares, start + column + 2u);
    squares = add_square(squares, start + column + 3u);
  }
  for (var column = whole + lane; column < params.width; column += LANES) { squares = add_square(squares, start + column); }
  let scale = rms_scale(squares, params.width);
  for (var column = 4u * lane; column < whole; column += 4u * LANES) {
    store(start, column, scale);
    store(start, column + 1u, scale);
    store(start, column + 2u, scale);
    store(start, column + 3u, scale);
  }
  for (var column = whole + lane; column < params.width; column += LANES) { store(start, column, scale); }
}
