// Weights stored as bf16, two in a u32: four along K in one load.
// uses: half
alias WeightWord = vec2u;
fn unpack_weight(word: WeightWord) -> vec4f { return vec4f(unpack_bf16(word.x), unpack_bf16(word.y)); }
