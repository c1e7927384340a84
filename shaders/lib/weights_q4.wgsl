// Weights stored as symmetric 4-bit records (contract/dtypes.ts): eight codes along K in a word, a scale per group of columns.
// uses: integer_q4
// consts: GROUP = 32
alias WeightWord = u32;
const STEP = 2u;
const SHARED = GROUP / 4u;
fn weight_rows(columns: vec4u) -> vec4u { return columns * ((params.depth / 8u + (params.depth / GROUP + 1u) / 2u + 7u) / 8u * 8u); }
fn weight_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
fn group_scale(row: u32, k: u32) -> vec2f {
  let group = k / SHARED;
  let scales = unpack2x16float(weight[row + params.depth / 8u + group / 2u]);
  return vec2f(select(scales.x, scales.y, (group & 1u) == 1u), 8.0);
}
fn unpack_weight(word: WeightWord, part: u32, scale: vec2f) -> vec4f {
  let codes = (vec4u(word) >> (vec4u(0u, 16u, 4u, 20u) + part * 8u)) & vec4u(15u);
  return (vec4f(codes) - scale.y) * scale.x;
}
fn load_weight(row: u32, k: u32) -> vec4f { return unpack_weight(weight[row + k / 2u], k & 1u, group_scale(row, k)); }
