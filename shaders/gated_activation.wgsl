// out = activation(gate) * up, where a row of x is gate, then up.
//
// binding  dtype, shape           what
// x        f32 [rows, 2 width]
// out      f32 [rows, width]
// params
// grid: one invocation per element of out.
// uses: sizes, elements, activation
struct Params {
  rows: u32,
  width: u32,
  activation: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

fn element_count() -> u32 { return resolve_size(params.rows) * params.width; }

fn run_element(index: u32) {
  let gate = (index / params.width) * 2u * params.width + index % params.width;
  out[index] = activate(params.activation, x[gate]) * x[gate + params.width];
}
