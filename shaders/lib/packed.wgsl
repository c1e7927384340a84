// A linear layer over weights in few bits as sums of integers: 32 columns at a time become fixed-point numbers of 31 bits, whose four digits
// of base 256 are multiplied by the codes four columns at a time (dot4I8Packed). Sums of digits are exact; the values are those of the other
// kernels to within the rounding of f32, also where one column of the 32 is much larger than the others.
//
// Each lane takes groups of 32 columns, LANES apart, then the lanes are added: the order depends on depth only, whatever TILE_ROWS is.
//
// grid: one group per TILE_ROWS rows and OUTPUTS columns of the output. depth is a multiple of 32.
// The kernel declares x (array<vec4f>), weight and Params rows, columns and depth, links a weights_* fragment with integer_words, an input_*
// and a lanes_* fragment, and gives:
//   const OUTPUTS                      columns of the output, of 8 rows of weight
//   weights_of(first) -> two vec4u     the rows of weight of the outputs first, first + 1 ..., all of them in the weight
//   store_tile(row, first, low, high)  finishes and stores those outputs that are in the layer
// consts: TILE_ROWS = 1
const PUBLISHED = 1u;

/// Digits of the rows' columns: x, y, z, w have those of 1, 256, 256^2, 256^3 of four columns each.
var<private> digits: array<vec4u, TILE_ROWS * 8u>;
/// What the numbers of a row are multiples of.
var<private> units: array<f32, TILE_ROWS>;
/// Of each row of the tile with each of the rows of weight.
var<private> sums: array<f32, TILE_ROWS * 8u>;

fn run(group: u32, lane: u32) {
  let rows = resolve_size(params.rows);
  let vectors = params.depth / 4u;
  let tiles = (params.columns + OUTPUTS - 1u) / OUTPUTS;
  let row = (group / tiles) * TILE_ROWS;
  if (row >= rows) { return; }
  let first = (group % tiles) * OUTPUTS;
  let weights = weights_of(first);
  let low_at = weight_rows(weights[0]);
  let high_at = weight_rows(weights[1]);
  var weights_at = array<u32, 8>(low_at.x, low_at.y, low_at.z, low_at.w, high_at.x, high_at.y, high_at.z, high_at.w);
  var scales: array<f32, TILE_ROWS>;
  for (var i = 0u; i < TILE_ROWS; i++) { scales[i] = input_scale(min(row + i, rows - 1u) * vectors, lane); }
  for (var k = 8u * lane; k < vectors; k += 8u * LANES) {
    for (var i = 0u; i < TILE_ROWS; i++) { take_digits(i, min(row + i, rows - 1u) * vectors, k, scales[i]); }
    // A loop: eight times the code would take long to compile.
    for (var column = 0u; column < 8u; column++) { add_products(column, weights_at[column], k); }
  }
  for (var i = 0u; i < TILE_ROWS; i++) {
    let low = lane_sum4(vec4f(sums[8u * i], sums[8u * i + 1u], sums[8u * i + 2u], sums[8u * i + 3u]) * weight_scales(low_at));
    let high = lane_sum4(vec4f(sums[8u * i + 4u], sums[8u * i + 5u], sums[8u * i + 6u], sums[8u * i + 7u]) * weight_scales(high_at));
    if (lane == i % LANES && row + i < rows) { store_tile(row + i, first, low, high); }
  }
}

/// Digits of 32 columns from vector k of a row on. The unit is a power of two, by which division is exact.
fn take_digits(tile_row: u32, start: u32, k: u32, scale: f32) {
  var values: array<vec4f, 8>;
  // Bits of magnitudes have the order of the magnitudes, and those of NaN are above all.
  var largest = vec4u();
  for (var i = 0u; i < 8u; i++) {
    values[i] = input_vector(start + k + i, scale, norm_vector(k + i));
    largest = max(largest, bitcast<vec4u>(values[i]) & vec4u(0x7fffffffu));
  }
  // The biased exponent of the largest; of smaller numbers than 2^-63 fewer digits are left.
  let exponent = max(max(max(largest.x, largest.y), max(largest.z, largest.w)) >> 23u, 64u);
  // No digits hold NaN or infinity: the unit does.
  units[tile_row] = bitcast<f32>(select((exponent - 29u) << 23u, 0x7fc00000u, exponent == 255u));
  let per_unit = bitcast<f32>((283u - exponent) << 23u);
  for (var i = 0u; i < 8u; i += 2u) {
    let ordered = integer_order(values[i] * per_unit, values[i + 1u] * per_unit);
    digits[tile_row * 8u + i] = digits_of(ordered[0]);
    digits[tile_row * 8u + i + 1u] = digits_of(ordered[1]);
  }
}

/// Four numbers below 2^30 as digits from -128 to 127: the carries of an addition make them.
fn digits_of(numbers: vec4f) -> vec4u {
  let carried = (bitcast<vec4u>(vec4i(round(numbers))) + vec4u(0x00808080u)) ^ vec4u(0x00808080u);
  return vec4u(
    pack4xU8(carried & vec4u(0xffu)), pack4xU8((carried >> vec4u(8u)) & vec4u(0xffu)),
    pack4xU8((carried >> vec4u(16u)) & vec4u(0xffu)), pack4xU8(carried >> vec4u(24u)));
}

/// Adds the products of 32 columns from vector k on, of all rows of the tile with one row of weight.
fn add_products(column: u32, weight_at: u32, k: u32) {
  let scale = group_scale(weight_at, k);
  var of_digits: array<vec4i, TILE_ROWS>;
  for (var i = 0u; i < 8u; i += 2u) {
    let words = integer_words(weight_at, k + i, scale.y);
    for (var row = 0u; row < TILE_ROWS; row++) {
      let at = row * 8u + i;
      of_digits[row] += digit_sums(words.x, digits[at]) + digit_sums(words.y, digits[at + 1u]);
    }
  }
  for (var row = 0u; row < TILE_ROWS; row++) {
    let sum = of_digits[row];
    let units_of_row = fma(f32(sum.w), 16777216.0, fma(f32(sum.z), 65536.0, f32(sum.y * 256 + sum.x)));
    sums[row * 8u + column] += units[row] * scale.x * units_of_row;
  }
}

fn digit_sums(codes: u32, four: vec4u) -> vec4i {
  return vec4i(
    dot4I8Packed(codes, four.x), dot4I8Packed(codes, four.y),
    dot4I8Packed(codes, four.z), dot4I8Packed(codes, four.w));
}
