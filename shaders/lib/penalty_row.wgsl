// Which samples have penalties to apply. The kernels declare bindings samples and rows.
const COUNT_IN_PROMPT = 0x80000000u;

fn has_penalties(sample: u32) -> bool {
  let record = sample * SAMPLE_WORDS;
  let row = samples[record + SAMPLE_ROW];
  if (row == NONE || samples[record + SAMPLE_TARGET] != NONE) { return false; }
  let words = row * ROW_WORDS;
  let neutral = bitcast<f32>(rows[words + ROW_REPETITION_PENALTY]) == 1.0
    && bitcast<f32>(rows[words + ROW_FREQUENCY_PENALTY]) == 0.0
    && bitcast<f32>(rows[words + ROW_PRESENCE_PENALTY]) == 0.0;
  return !neutral;
}
