// One step along depth of the kernels whose lanes are columns: all of them add in this order, so that a row does not depend on its
// batch.
fn fold(sum: f32, value: vec4f, weights: vec4f) -> f32 {
  return fma(value.w, weights.w, fma(value.z, weights.z, fma(value.y, weights.y, fma(value.x, weights.x, sum))));
}
/// The same for two columns.
fn fold2(sums: vec2f, value: vec4f, first: vec4f, second: vec4f) -> vec2f {
  return vec2f(fold(sums.x, value, first), fold(sums.y, value, second));
}
