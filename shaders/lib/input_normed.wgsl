// The rows that a linear layer multiplies: the RMS norm of those of x, as rms_norm computes it, bit for bit. Each group norms its rows anew,
// which a dispatch of few rows hardly feels, and the step has one dispatch less.
// The kernel declares x (array<vec4f>) and norm_weight (array<u32>), and has these of Params: depth, eps, norm_dtype.
// uses: rms, element, half

fn input_scale(start: u32, lane: u32) -> f32 {
  var squares = 0.0;
  for (var k = lane; k < params.depth / 4u; k += LANES) {
    let value = x[start + k];
    squares = fma(value.w, value.w, fma(value.z, value.z, fma(value.y, value.y, fma(value.x, value.x, squares))));
  }
  return rms_scale(squares, params.depth);
}

fn norm_vector(k: u32) -> vec4f {
  if (params.norm_dtype == DTYPE_F32) {
    return bitcast<vec4f>(vec4u(norm_weight[4u * k], norm_weight[4u * k + 1u], norm_weight[4u * k + 2u], norm_weight[4u * k + 3u]));
  }
  let words = vec2u(norm_weight[2u * k], norm_weight[2u * k + 1u]);
  if (params.norm_dtype == DTYPE_F16) { return vec4f(unpack2x16float(words.x), unpack2x16float(words.y)); }
  return vec4f(unpack_bf16(words.x), unpack_bf16(words.y));
}

fn input_vector(at: u32, scale: f32, norm: vec4f) -> vec4f { return x[at] * scale * norm; }
