// One element of a raw tensor whose dtype is known to the host: for vectors that are read once per output (biases, norm
// weights, embedding rows), where a branch on a uniform costs nothing and spares a variant.
const DTYPE_F32 = 0u;
const DTYPE_F16 = 1u;
const DTYPE_BF16 = 2u;

/// Word of the tensor that holds the element.
fn element_word(dtype: u32, index: u32) -> u32 {
  return select(index >> 1u, index, dtype == DTYPE_F32);
}
fn element_value(dtype: u32, word: u32, index: u32) -> f32 {
  if (dtype == DTYPE_F32) { return bitcast<f32>(word); }
  let half = (word >> ((index & 1u) * 16u)) & 0xffffu;
  if (dtype == DTYPE_F16) { return unpack2x16float(half).x; }
  return bitcast<f32>(half << 16u);
}
