// The sizes of the step, written by the host before each submit, in the order of the contract's StepSizes.
// A dimension in a Params struct is a number, or SYMBOLIC + the index of a size.
@group(1) @binding(0) var<uniform> step_sizes: array<vec4u, 2>;

const SYMBOLIC = 0x80000000u;

fn resolve_size(dim: u32) -> u32 {
  let index = dim & 7u;
  return select(dim, step_sizes[index >> 2u][index & 3u], dim >= SYMBOLIC);
}
