// The end of every gated linear kernel: biases, activation of the gate, product with the up projection.
// The kernel declares bindings out [rows, columns] and bias [2 columns], and these Params: columns, bias_dtype (NONE without),
// activation.
// uses: element, activation

/// Finishes four neighbouring columns of a row; those beyond the output are left out.
fn store_gated(row: u32, first: u32, gates: vec4f, ups: vec4f) {
  for (var i = 0u; i < min(4u, params.columns - first); i++) {
    store_gate(row, first + i, gates[i], ups[i]);
  }
}

fn store_gate(row: u32, column: u32, gate: f32, up: f32) {
  let opened = activate(params.activation, gate + bias_at(column));
  out[row * params.columns + column] = opened * (up + bias_at(params.columns + column));
}

fn bias_at(index: u32) -> f32 {
  if (params.bias_dtype == NONE) { return 0.0; }
  return element_value(params.bias_dtype, bias[element_word(params.bias_dtype, index)], index);
}
