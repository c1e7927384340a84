// Weights stored as bf16, two in a u32: four along K in one load.
// uses: half
alias WeightWord = vec2u;
fn weight_rows(columns: vec4u) -> vec4u { return columns * (params.depth / 4u); }
fn weight_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
fn load_weight(row: u32, k: u32) -> vec4f {
  let word = weight[row + k];
  return vec4f(unpack_bf16(word.x), unpack_bf16(word.y));
}
