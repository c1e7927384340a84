// Codes of 4 bits as int8, for lib/packed.wgsl. A word has two vectors of codes: bits 0, 8, 16 and 24 hold columns 0, 4, 1, 5, and four bits
// above lie columns 2, 6, 3, 7.

/// Codes of vectors k and k + 1 (k is even), less their zero point from 0 to 16. No byte borrows from the next.
fn integer_words(row: u32, k: u32, zero: f32) -> vec2u {
  let codes = (vec2u(weight[row + k / 2u]) >> vec2u(0u, 4u)) & vec2u(0x0f0f0f0fu);
  return (codes + vec2u(0x80808080u - u32(zero) * 0x01010101u)) ^ vec2u(0x80808080u);
}
/// The order in which they lie.
fn integer_order(low: vec4f, high: vec4f) -> array<vec4f, 2> {
  return array<vec4f, 2>(vec4f(low.x, high.x, low.y, high.y), vec4f(low.z, high.z, low.w, high.w));
}
