// Weights stored as f32: four along K in one load.
alias WeightWord = vec4f;
fn unpack_weight(word: WeightWord) -> vec4f { return word; }
