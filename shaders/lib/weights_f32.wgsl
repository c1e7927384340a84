// Weights stored as f32: four along K in one load. The kernel declares `weight` and Params.depth, as for all weights_* fragments.
// All of them give: STEP, the vectors of four along K in a WeightWord; SHARED, those that share a scale of their group, and
// group_scale, which gives that scale and its zero point; unpack_weight, vector `part` of a word; load_weight, vector k of a row;
// weight_rows, where rows begin; weight_scales, what sums are multiplied by. Those of few bits give for lib/packed.wgsl too: integer_words,
// the codes of two vectors as int8, less their zero point; integer_order, the order in which they lie.
alias WeightWord = vec4f;
const STEP = 1u;
const SHARED = 1u;
fn weight_rows(columns: vec4u) -> vec4u { return columns * (params.depth / 4u); }
fn weight_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
fn group_scale(row: u32, k: u32) -> vec2f { return vec2f(1.0); }
fn unpack_weight(word: WeightWord, part: u32, scale: vec2f) -> vec4f { return word; }
fn load_weight(row: u32, k: u32) -> vec4f { return weight[row + k]; }
