// The end of every linear kernel: bias, activation, residual, and where the result goes.
// The kernel declares bindings out, residual and bias, and these Params: columns, width, out_column, bias_dtype (NONE without),
// activation, residual_mode.
// uses: element, activation
const RESIDUAL_NONE = 0u;
const RESIDUAL_READ = 1u;
const RESIDUAL_IN_OUT = 2u;

/// Finishes four neighbouring columns of a row; those beyond the weight are left out.
fn store_columns(row: u32, first: u32, sums: vec4f) {
  for (var i = 0u; i < min(4u, params.columns - first); i++) { store_column(row, first + i, sums[i]); }
}

fn store_column(row: u32, column: u32, sum: f32) {
  var value = sum;
  if (params.bias_dtype != NONE) {
    value += element_value(params.bias_dtype, bias[element_word(params.bias_dtype, column)], column);
  }
  value = activate(params.activation, value);
  let at = row * params.width + params.out_column + column;
  switch (params.residual_mode) {
    case RESIDUAL_READ: { value += residual[at]; }
    case RESIDUAL_IN_OUT: { value += out[at]; }
    default: {}
  }
  out[at] = value;
}
