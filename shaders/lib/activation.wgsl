// Activation functions, by the code that the host puts into Params. Arguments of exp are bounded, because WGSL may assume
// that infinities are absent.
const ACTIVATION_NONE = 0u;
const ACTIVATION_RELU = 1u;
const ACTIVATION_SILU = 2u;
const ACTIVATION_GELU = 3u;
const ACTIVATION_GELU_TANH = 4u;

/// erfc(x) for x >= 0: Abramowitz and Stegun 7.1.26, absolute error below 1.5e-7.
fn erfc_positive(x: f32) -> f32 {
  let t = 1.0 / (1.0 + 0.3275911 * x);
  let poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return poly * exp(-min(x * x, 80.0));
}
fn gelu(x: f32) -> f32 {
  let tail = 0.5 * erfc_positive(abs(x) * 0.7071067811865476);
  return x * select(1.0 - tail, tail, x < 0.0);
}
fn gelu_tanh(x: f32) -> f32 {
  let inner = 0.7978845608028654 * (x + 0.044715 * x * x * x);
  return 0.5 * x * (1.0 + tanh(clamp(inner, -15.0, 15.0)));
}
fn activate(code: u32, x: f32) -> f32 {
  switch (code) {
    case ACTIVATION_RELU: { return max(x, 0.0); }
    case ACTIVATION_SILU: { return x / (1.0 + exp(min(-x, 80.0))); }
    case ACTIVATION_GELU: { return gelu(x); }
    case ACTIVATION_GELU_TANH: { return gelu_tanh(x); }
    default: { return x; }
  }
}
