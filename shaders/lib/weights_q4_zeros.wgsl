// Weights stored as 4-bit records with zero points (contract/dtypes.ts): four codes along K in half a word, a scale and a zero per
// group of columns.
// consts: GROUP = 32
alias WeightWord = u32;
fn weight_rows(columns: vec4u) -> vec4u { return columns * ((params.depth / 8u + params.depth / GROUP + 7u) / 8u * 8u); }
fn load_weight(row: u32, k: u32) -> vec4f {
  let codes = (vec4u(weight[row + k / 2u]) >> (vec4u(0u, 16u, 4u, 20u) + (k & 1u) * 8u)) & vec4u(15u);
  let pair = unpack2x16float(weight[row + params.depth / 8u + k / (GROUP / 4u)]);
  return (vec4f(codes) - pair.y) * pair.x;
}
fn weight_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
