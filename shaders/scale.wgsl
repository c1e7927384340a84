// out = factor x, or soft_cap tanh(factor x / soft_cap) where there is a soft cap; out may lie in x.
//
// binding  dtype, shape       what
// x        f32 [rows, width]  any buffer when in_place
// out      f32 [rows, width]  holds x when in_place
// params
// grid: one invocation per element.
// uses: sizes, elements
struct Params {
  rows: u32,
  width: u32,
  factor: f32,
  soft_cap: f32,
  in_place: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

fn element_count() -> u32 { return resolve_size(params.rows) * params.width; }

fn run_element(index: u32) {
  var value: f32;
  if (params.in_place != 0u) { value = out[index]; } else { value = x[index]; }
  value *= params.factor;
  // Beyond 15 tanh is 1 in f32, and an implementation may overflow.
  if (params.soft_cap != 0.0) { value = params.soft_cap * tanh(clamp(value / params.soft_cap, -15.0, 15.0)); }
  out[index] = value;
}
