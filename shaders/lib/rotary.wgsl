// Rotary position embedding of one pair, in place.
// The kernel declares bindings qkv and table: cosines, then sines, made on the host, because WGSL's sin and cos are not accurate
// enough; and these Params: pairs (half of what is rotated), interleaved.

/// Rotates pair `pair` of the head that begins at `head` of qkv.
fn rotate_pair(head: u32, position: u32, pair: u32) {
  let first = head + select(pair, 2u * pair, params.interleaved != 0u);
  let second = first + select(params.pairs, 1u, params.interleaved != 0u);
  let angle = position * 2u * params.pairs + pair;
  let cosine = table[angle];
  let sine = table[angle + params.pairs];
  let a = qkv[first];
  let b = qkv[second];
  qkv[first] = a * cosine - b * sine;
  qkv[second] = b * cosine + a * sine;
}
