// Philox 4x32-10 (Salmon, Moraes, Dror and Shaw 2011), and the Gumbel noise that the contract makes of its words.

/// Upper 32 bits of the product, from products of 16-bit halves.
fn multiply_high(a: u32, b: u32) -> u32 {
  let a_low = a & 0xffffu;
  let a_high = a >> 16u;
  let b_low = b & 0xffffu;
  let b_high = b >> 16u;
  let middle = a_high * b_low + ((a_low * b_low) >> 16u);
  let carry = a_low * b_high + (middle & 0xffffu);
  return a_high * b_high + (middle >> 16u) + (carry >> 16u);
}

fn philox(counter: vec4u, key: vec2u) -> vec4u {
  var c = counter;
  var k = key;
  for (var round = 0u; round < 10u; round++) {
    let high0 = multiply_high(0xd2511f53u, c.x);
    let high1 = multiply_high(0xcd9e8d57u, c.z);
    c = vec4u(high1 ^ c.y ^ k.x, 0xcd9e8d57u * c.z, high0 ^ c.w ^ k.y, 0xd2511f53u * c.x);
    k += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}

/// -log(-log(1 - u)) with u = (word + 1/2) / 2^32, at most 1 - 2^-24. Near 0 the inner logarithm is a series, since log(1 - u)
/// has an absolute error only; near 1, 1 - u comes from the complement of the word, since u itself has lost its last digits.
fn gumbel(word: u32) -> f32 {
  let u = (f32(word) + 0.5) * 0x1p-32;
  let rest = max((f32(~word) + 0.5) * 0x1p-32, 0x1p-24);
  // -log(1 - u) = 2 artanh(u / (2 - u))
  let s = u / (2.0 - u);
  let s2 = s * s;
  let series = 2.0 * s * (1.0 + s2 * (1.0 / 3.0 + s2 * (0.2 + s2 * (1.0 / 7.0 + s2 / 9.0))));
  return -log(select(-log(rest), series, u < 0.25));
}
