// RMS norm and rotary position embedding of one query or key head, in place, by a group of lanes.
// The kernel declares bindings qkv, table (cosines, then sines, made on the host, because WGSL's sin and cos are not accurate
// enough), q_norm and k_norm (any buffers where there are no norms); and these Params: head_dim; pairs, half of what is rotated;
// interleaved; norm_eps; norm_dtype, NONE without norms; word_elements, units, rotary_units and unit_pairs.
//
// A unit is the smallest part of a head that is whole pairs, and whole words (of word_elements) of a cache where the kernel writes
// to one. Unit i < rotary_units has unit_pairs pairs, from i unit_pairs on; the units behind are one word each of what is not
// rotated. A lane touches the units lane, lane + LANES, ... and no others: so it reads nothing that another one writes.
// uses: element

fn first_of(pair: u32) -> u32 { return select(pair, 2u * pair, params.interleaved != 0u); }
fn second_of(pair: u32) -> u32 { return first_of(pair) + select(params.pairs, 1u, params.interleaved != 0u); }
/// The first element of a unit that is not rotated.
fn rest_of(unit: u32) -> u32 { return 2u * params.pairs + (unit - params.rotary_units) * params.word_elements; }

fn square(at: u32) -> f32 { return qkv[at] * qkv[at]; }

fn unit_squares(head: u32, unit: u32) -> f32 {
  var sum = 0.0;
  if (unit < params.rotary_units) {
    for (var i = 0u; i < params.unit_pairs; i++) {
      let pair = unit * params.unit_pairs + i;
      sum += square(head + first_of(pair)) + square(head + second_of(pair));
    }
    return sum;
  }
  for (var i = 0u; i < params.word_elements; i++) { sum += square(head + rest_of(unit) + i); }
  return sum;
}

/// What the norm multiplies the head that begins at `head` of qkv by, beside its weights. In uniform control flow.
fn head_scale(head: u32, lane: u32) -> f32 {
  if (params.norm_dtype == NONE) { return 1.0; }
  var squares = 0.0;
  for (var unit = lane; unit < params.units; unit += LANES) { squares += unit_squares(head, unit); }
  return 1.0 / sqrt(lane_sum(squares) / f32(params.head_dim) + params.norm_eps);
}

fn normed(head: u32, element: u32, is_query: bool, scale: f32) -> f32 {
  let value = qkv[head + element];
  if (params.norm_dtype == NONE) { return value; }
  let at = element_word(params.norm_dtype, element);
  var word = 0u;
  if (is_query) { word = q_norm[at]; } else { word = k_norm[at]; }
  return value * scale * element_value(params.norm_dtype, word, element);
}

fn turn_pair(head: u32, pair: u32, position: u32, is_query: bool, scale: f32) {
  let angle = position * 2u * params.pairs + pair;
  let cosine = table[angle];
  let sine = table[angle + params.pairs];
  let a = normed(head, first_of(pair), is_query, scale);
  let b = normed(head, second_of(pair), is_query, scale);
  qkv[head + first_of(pair)] = a * cosine - b * sine;
  qkv[head + second_of(pair)] = b * cosine + a * sine;
}

/// Norms and rotates one unit.
fn turn_unit(head: u32, unit: u32, position: u32, is_query: bool, scale: f32) {
  if (unit < params.rotary_units) {
    for (var i = 0u; i < params.unit_pairs; i++) {
      turn_pair(head, unit * params.unit_pairs + i, position, is_query, scale);
    }
    return;
  }
  if (params.norm_dtype == NONE) { return; }
  for (var i = 0u; i < params.word_elements; i++) {
    let element = rest_of(unit) + i;
    qkv[head + element] = normed(head, element, is_query, scale);
  }
}
