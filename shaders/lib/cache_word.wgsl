// Elements of qkv as a word of a cache.
// The kernel declares binding qkv, and these Params: word_elements (1, or 2 for f16).
// uses: half

/// The word that begins at element `source` of qkv.
fn cache_word(source: u32) -> u32 {
  if (params.word_elements == 1u) { return bitcast<u32>(qkv[source]); }
  return pack_halves(qkv[source], qkv[source + 1u]);
}
