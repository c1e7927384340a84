// Tests and orders of floats by their bits: comparisons such as x != x are folded away, since WGSL may assume that there are no
// NaNs and infinities.
fn is_finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }

/// Larger floats have larger keys. 0 is below the key of every number.
fn ordered_key(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}
fn float_of_key(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}
const KEY_POSITIVE_INFINITY = 0xff800000u;
const KEY_NEGATIVE_INFINITY = 0x007fffffu;
