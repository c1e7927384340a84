// The factor of an RMS norm, from the squares that each lane has added: lanes take groups of four columns, LANES apart, so that the sum is
// the same wherever a row is normed. The kernel links a lanes_* fragment, and has this of Params: eps.
fn rms_scale(squares: f32, width: u32) -> f32 {
  return 1.0 / sqrt(lane_sum(squares) / f32(width) + params.eps);
}
