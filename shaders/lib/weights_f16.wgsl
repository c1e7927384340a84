// Weights stored as f16, two in a u32: four along K in one load. Needs no feature.
alias WeightWord = vec2u;
const STEP = 1u;
const SHARED = 1u;
fn weight_rows(columns: vec4u) -> vec4u { return columns * (params.depth / 4u); }
fn weight_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
fn group_scale(row: u32, k: u32) -> vec2f { return vec2f(1.0); }
fn unpack_weight(word: WeightWord, part: u32, scale: vec2f) -> vec4f {
  return vec4f(unpack2x16float(word.x), unpack2x16float(word.y));
}
fn load_weight(row: u32, k: u32) -> vec4f { return unpack_weight(weight[row + k], 0u, vec2f()); }
