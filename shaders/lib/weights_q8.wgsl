// Weights stored as q8 records (contract/dtypes.ts): four codes along K in one word, the scale of the row after the sum.
alias WeightWord = u32;
const STEP = 1u;
const SHARED = 1u;
fn code_words() -> u32 { return (params.depth + 15u) / 16u * 4u; }
fn weight_rows(columns: vec4u) -> vec4u { return columns * ((code_words() + 8u) / 8u * 8u); }
fn group_scale(row: u32, k: u32) -> vec2f { return vec2f(1.0, 0.0); }
fn unpack_weight(word: WeightWord, part: u32, scale: vec2f) -> vec4f { return vec4f(unpack4xI8(word)); }
fn load_weight(row: u32, k: u32) -> vec4f { return unpack_weight(weight[row + k], 0u, vec2f()); }
fn weight_scales(rows: vec4u) -> vec4f {
  let at = rows + code_words();
  return bitcast<vec4f>(vec4u(weight[at.x], weight[at.y], weight[at.z], weight[at.w]));
}
/// Codes of vectors k and k + 1 in order.
fn integer_words(row: u32, k: u32, zero: f32) -> vec2u { return vec2u(weight[row + k], weight[row + k + 1u]); }
fn integer_order(low: vec4f, high: vec4f) -> array<vec4f, 2> { return array<vec4f, 2>(low, high); }
