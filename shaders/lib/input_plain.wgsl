// The rows that a linear layer multiplies: x itself. All input_* fragments give: input_scale, of a row that starts at a vector of x;
// norm_vector, what vector k of a row is multiplied by; input_vector, a vector of x with both.
fn input_scale(start: u32, lane: u32) -> f32 { return 1.0; }
fn norm_vector(k: u32) -> vec4f { return vec4f(1.0); }
fn input_vector(at: u32, scale: f32, norm: vec4f) -> vec4f { return x[at]; }
