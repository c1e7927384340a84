// Weights stored as f32: four along K in one load. The kernel declares `weight` and Params.depth, as for all weights_* fragments.
alias WeightWord = vec4f;
fn weight_rows(columns: vec4u) -> vec4u { return columns * (params.depth / 4u); }
fn weight_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
fn load_weight(row: u32, k: u32) -> vec4f { return weight[row + k]; }
