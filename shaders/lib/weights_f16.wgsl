// Weights stored as f16, two in a u32: four along K in one load. Needs no feature.
alias WeightWord = vec2u;
fn unpack_weight(word: WeightWord) -> vec4f { return vec4f(unpack2x16float(word.x), unpack2x16float(word.y)); }
