// out = a + b, element by element; out may lie in a.
//
// binding  dtype, shape       what
// a        f32 [rows, width]  any buffer when in_place
// b        f32 [rows, width]
// out      f32 [rows, width]  holds a when in_place
// params
// grid: one invocation per element.
// uses: sizes, elements
struct Params {
  rows: u32,
  width: u32,
  in_place: u32,
}
@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn element_count() -> u32 { return resolve_size(params.rows) * params.width; }

fn run_element(index: u32) {
  if (params.in_place != 0u) {
    out[index] += b[index];
  } else {
    out[index] = a[index] + b[index];
  }
}
