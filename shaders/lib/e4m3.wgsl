// fp8 of 4 bits of exponent and 3 of mantissa (OCP E4M3), four in a word, with core WGSL only.

/// Four codes; magnitudes are at most 448. Rounds to nearest, ties to even.
fn pack_e4m3(values: vec4f) -> u32 {
  let bits = bitcast<vec4u>(values);
  let magnitude = bits & vec4u(0x7fffffffu);
  let normal = ((magnitude + 0x7ffffu + ((magnitude >> vec4u(20u)) & vec4u(1u))) >> vec4u(20u)) - 960u;
  // Below 2^-6: multiples of 2^-9.
  let subnormal = vec4u(round(bitcast<vec4f>(min(magnitude, vec4u(0x3c800000u))) * 512.0));
  let codes = select(normal, subnormal, magnitude < vec4u(0x3c800000u)) | ((bits >> vec4u(24u)) & vec4u(0x80u));
  return codes.x | (codes.y << 8u) | (codes.z << 16u) | (codes.w << 24u);
}

fn unpack_e4m3(word: u32) -> vec4f {
  let codes = (vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(0xffu);
  let magnitude = codes & vec4u(0x7fu);
  let normal = bitcast<vec4f>((magnitude << vec4u(20u)) + 0x3c000000u);
  let value = select(normal, vec4f(magnitude) * 0.001953125, magnitude < vec4u(8u));
  return select(value, -value, codes >= vec4u(128u));
}
