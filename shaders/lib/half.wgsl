// f16 and bf16 in the halves of 32-bit words, with core WGSL only. Reading is exact; writing f16 rounds to nearest even and
// overflows to infinity as IEEE 754 does (pack2x16float may round either way, and overflows differently on every adapter).
fn half_bits(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  let sign = (bits >> 16u) & 0x8000u;
  let magnitude = bits & 0x7fffffffu;
  // Below 2^-14: adding 1/2 leaves the multiple of 2^-24 in the low bits.
  let subnormal = bitcast<u32>(bitcast<f32>(min(magnitude, 0x38800000u)) + 0.5) - 0x3f000000u;
  let normal = (magnitude + 0x0fffu + ((magnitude >> 13u) & 1u) - 0x38000000u) >> 13u;
  let number = min(select(normal, subnormal, magnitude < 0x38800000u), 0x7c00u);
  return sign | select(number, 0x7e00u, magnitude > 0x7f800000u);
}
fn pack_halves(low: f32, high: f32) -> u32 {
  return half_bits(low) | (half_bits(high) << 16u);
}
fn unpack_bf16(word: u32) -> vec2f {
  return vec2f(bitcast<f32>(word << 16u), bitcast<f32>(word & 0xffff0000u));
}
