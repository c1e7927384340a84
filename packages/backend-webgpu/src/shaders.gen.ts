// Made by packages/backend-webgpu/scripts/generate-shaders.mjs from shaders/. Do not edit: npm run shaders.

export const fragments = {
  'activation': {
    uses: [],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `const ACTIVATION_NONE = 0u;
const ACTIVATION_RELU = 1u;
const ACTIVATION_SILU = 2u;
const ACTIVATION_GELU = 3u;
const ACTIVATION_GELU_TANH = 4u;
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
`,
  },
  'attention': {
    uses: ["paged","attention_parts"],
    enables: [],
    directives: [],
    consts: {"BLOCK_SIZE":16,"TILE_TOKENS":1,"TILE_HEADS":1},
    bindings: [],
    source: `const QUERIES = TILE_TOKENS * TILE_HEADS;
const GROUP = 4u;
const CHUNK = LANES * GROUP;
const VECTORS = (HEAD_VECTORS + LANES - 1u) / LANES;
const PUBLISHED = QUERIES;
struct Tile {
  row: u32,
  token: u32,
  tokens: u32,
  position: u32,
  head: u32,
  kv_head: u32,
}
var<private> running_max: array<f32, QUERIES>;
var<private> running_sum: array<f32, QUERIES>;
var<private> result: array<vec4f, QUERIES * VECTORS>;
fn scores_of(raw: vec4f) -> vec4f {
  let scores = raw * params.scale;
  if (params.soft_cap == 0.0) { return scores; }
  return params.soft_cap * tanh(clamp(scores / params.soft_cap, vec4f(-15.0), vec4f(15.0)));
}
fn are_visible(query_position: u32, first: u32) -> vec4<bool> {
  let positions = vec4u(first) + vec4u(0u, 1u, 2u, 3u);
  return (positions <= vec4u(query_position)) & (positions >= vec4u(window_begin(query_position)));
}
fn cache_vector(tile: Tile, position: u32) -> u32 {
  let block = block_tables[tile.row * params.max_blocks + position / BLOCK_SIZE];
  return cache_row(block, tile.kv_head, position % BLOCK_SIZE, params.kv_heads, BLOCK_SIZE) * HEAD_VECTORS;
}
fn cache_vectors(tile: Tile, first: u32, end: u32) -> vec4u {
  let last = end - 1u;
  var starts: vec4u;
  for (var i = 0u; i < 4u; i++) { starts[i] = cache_vector(tile, min(first + i, last)); }
  return starts;
}
fn query_vector(tile: Tile, query: u32) -> u32 {
  let token = tile.token + min(query / TILE_HEADS, tile.tokens - 1u);
  return (token * (params.heads + 2u * params.kv_heads) + tile.head + query % TILE_HEADS) * HEAD_VECTORS;
}
fn weigh_chunk(tile: Tile, queries: u32, chunk: u32, end: u32, lane: u32) {
  let first = chunk + lane * GROUP;
  var scores: array<vec4f, QUERIES>;
  var scales = vec4f(1.0);
  if (first < end) {
    let keys = cache_vectors(tile, first, end);
    for (var d = 0u; d < HEAD_VECTORS; d++) {
      let columns = mat4x4f(
        unpack_kv(k_cache[keys.x + d]), unpack_kv(k_cache[keys.y + d]),
        unpack_kv(k_cache[keys.z + d]), unpack_kv(k_cache[keys.w + d]));
      for (var query = 0u; query < queries; query++) { scores[query] += qkv[query_vector(tile, query) + d] * columns; }
    }
    let of_keys = key_scales(keys / HEAD_VECTORS);
    for (var query = 0u; query < queries; query++) { scores[query] *= of_keys; }
    scales = value_scales(keys / HEAD_VECTORS);
  }
  for (var query = 0u; query < queries; query++) {
    let visible = are_visible(tile.position + query / TILE_HEADS, first);
    let seen = select(vec4f(LOWEST), scores_of(scores[query]), visible);
    let largest = max(max(seen.x, seen.y), max(seen.z, seen.w));
    let new_max = max(running_max[query], lane_max(largest));
    let rescale = exp(running_max[query] - new_max);
    running_max[query] = new_max;
    let weights = select(vec4f(), exp(seen - new_max), visible);
    running_sum[query] = running_sum[query] * rescale + (weights.x + weights.y) + (weights.z + weights.w);
    for (var v = 0u; v < VECTORS; v++) { result[query * VECTORS + v] *= rescale; }
    lane_publish(query, lane, weights * scales);
  }
  lane_sync();
}
fn add_values(tile: Tile, queries: u32, chunk: u32, end: u32, lane: u32) {
  for (var i = 0u; i < min(LANES, (end - chunk + GROUP - 1u) / GROUP); i++) {
    let values = cache_vectors(tile, chunk + i * GROUP, end);
    for (var v = 0u; v < VECTORS; v++) {
      let d = min(lane + v * LANES, HEAD_VECTORS - 1u);
      let columns = mat4x4f(
        unpack_kv(v_cache[values.x + d]), unpack_kv(v_cache[values.y + d]),
        unpack_kv(v_cache[values.z + d]), unpack_kv(v_cache[values.w + d]));
      for (var query = 0u; query < queries; query++) { result[query * VECTORS + v] += columns * lane_read(query, i); }
    }
  }
}
fn first_position(tile: Tile) -> u32 {
  return window_begin(tile.position);
}
fn last_segment(tile: Tile) -> u32 {
  return (tile.position + tile.tokens - 1u) / SEGMENT;
}
fn sum_segment(tile: Tile, queries: u32, segment: u32, lane: u32) {
  for (var query = 0u; query < queries; query++) {
    running_max[query] = LOWEST;
    running_sum[query] = 0.0;
    for (var v = 0u; v < VECTORS; v++) { result[query * VECTORS + v] = vec4f(); }
  }
  let end = min(tile.position + tile.tokens, (segment + 1u) * SEGMENT);
  let first = max(first_position(tile), segment * SEGMENT);
  for (var chunk = first - first % CHUNK; chunk < end; chunk += CHUNK) {
    weigh_chunk(tile, queries, chunk, end, lane);
    add_values(tile, queries, chunk, end, lane);
  }
}
`,
  },
  'attention_parts': {
    uses: [],
    enables: [],
    directives: [],
    consts: {"HEAD_VECTORS":16,"SEGMENT":256},
    bindings: [],
    source: `const PART_VECTORS = HEAD_VECTORS + 1u;
const LOWEST = -3.0e38;
struct Part {
  largest: f32,
  sum: f32,
}
fn part_scales(so_far: Part, next: Part) -> vec2f {
  return exp(vec2f(so_far.largest, next.largest) - max(so_far.largest, next.largest));
}
fn join_parts(so_far: Part, next: Part, scales: vec2f) -> Part {
  return Part(max(so_far.largest, next.largest), fma(next.sum, scales.y, so_far.sum * scales.x));
}
fn join_values(so_far: vec4f, next: vec4f, scales: vec2f) -> vec4f {
  return fma(next, vec4f(scales.y), so_far * scales.x);
}
fn segments_of(positions: u32) -> u32 {
  return (positions + SEGMENT - 1u) / SEGMENT;
}
fn window_begin(query_position: u32) -> u32 {
  return select(0u, query_position + 1u - params.window, params.window != 0u && query_position >= params.window);
}
`,
  },
  'cache_word': {
    uses: ["half"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `fn cache_word(source: u32) -> u32 {
  if (params.word_elements == 1u) { return bitcast<u32>(qkv[source]); }
  return pack_halves(qkv[source], qkv[source + 1u]);
}
`,
  },
  'columns': {
    uses: [],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `fn run(group: u32, lane: u32) {
  let rows = resolve_size(params.rows);
  let width = OUTPUTS * LANES;
  let tiles = (params.columns + width - 1u) / width;
  let row = (group / tiles) * TILE_ROWS;
  if (row >= rows) { return; }
  let first = (group % tiles) * width + lane;
  let weights_at = weight_rows(weights_of(first));
  sum_columns(row, rows, weights_at, lane);
  let scales = weight_scales(weights_at);
  for (var i = 0u; i < min(TILE_ROWS, rows - row); i++) { store_lane(row + i, first, sums[i] * scales); }
}
fn fold(sum: f32, value: vec4f, weights: vec4f) -> f32 {
  return fma(value.w, weights.w, fma(value.z, weights.z, fma(value.y, weights.y, fma(value.x, weights.x, sum))));
}
`,
  },
  'columns_row': {
    uses: ["lanes_subgroup","columns"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `const TILE_ROWS = 1u;
const PER_LANE = 2u;
var<private> sums: array<vec4f, TILE_ROWS>;
fn sum_columns(row: u32, rows: u32, weights_at: vec4u, lane: u32) {
  sums[0] = vec4f(sum_column(row, weights_at.x, lane), sum_column(row, weights_at.y, lane), 0.0, 0.0);
}
fn sum_column(row: u32, weight_at: u32, lane: u32) -> f32 {
  let vectors = params.depth / 4u;
  let whole = vectors - vectors % LANES;
  let start = row * vectors;
  let row_scale = input_scale(start, lane);
  var sum = 0.0;
  for (var k = 0u; k < whole; k += LANES) {
    let value = input_vector(start + k + lane, row_scale, norm_vector(k + lane));
    let scale = group_scale(weight_at, k);
    sum = fold_pair(sum, subgroupBroadcast(value, 0u), subgroupBroadcast(value, 1u), weight_at, k, scale);
    sum = fold_pair(sum, subgroupBroadcast(value, 2u), subgroupBroadcast(value, 3u), weight_at, k + 2u, scale);
    if (LANES > 4u) {
      sum = fold_pair(sum, subgroupBroadcast(value, 4u), subgroupBroadcast(value, 5u), weight_at, k + 4u, scale);
      sum = fold_pair(sum, subgroupBroadcast(value, 6u), subgroupBroadcast(value, 7u), weight_at, k + 6u, scale);
    }
  }
  for (var k = whole; k < vectors; k++) { sum = fold(sum, input_vector(start + k, row_scale, norm_vector(k)), load_weight(weight_at, k)); }
  return sum;
}
fn fold_pair(sum: f32, value: vec4f, next: vec4f, weight_at: u32, k: u32, scale: vec2f) -> f32 {
  let word = weight[weight_at + k / STEP];
  var next_word = word;
  if (STEP == 1u) { next_word = weight[weight_at + k + 1u]; }
  return fold(fold(sum, value, unpack_weight(word, 0u, scale)), next, unpack_weight(next_word, STEP - 1u, scale));
}
`,
  },
  'columns_rows': {
    uses: ["lanes_subgroup","columns"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `const TILE_ROWS = LANES;
const PER_LANE = 4u;
var<private> sums: array<vec4f, LANES + 4u>;
var<private> sums0: vec4f;
var<private> sums1: vec4f;
var<private> sums2: vec4f;
var<private> sums3: vec4f;
var<private> sums4: vec4f;
var<private> sums5: vec4f;
var<private> sums6: vec4f;
var<private> sums7: vec4f;
fn sum_columns(row: u32, rows: u32, weights_at: vec4u, lane: u32) {
  let vectors = params.depth / 4u;
  let start = min(row + lane, rows - 1u) * vectors;
  let row_scale = own_scale(row, rows, lane);
  var scales: array<vec2f, PER_LANE>;
  for (var k = 0u; k < vectors; k += STEP) {
    if (k % SHARED == 0u) {
      scales = array<vec2f, PER_LANE>(
        group_scale(weights_at.x, k), group_scale(weights_at.y, k), group_scale(weights_at.z, k), group_scale(weights_at.w, k));
    }
    let at = weights_at + k / STEP;
    let words = array<WeightWord, PER_LANE>(weight[at.x], weight[at.y], weight[at.z], weight[at.w]);
    fold_rows(input_vector(start + k, row_scale, norm_vector(k)), words, 0u, scales);
    if (STEP > 1u) { fold_rows(input_vector(start + k + 1u, row_scale, norm_vector(k + 1u)), words, 1u, scales); }
  }
  sums[0u] = sums0; sums[1u] = sums1; sums[2u] = sums2; sums[3u] = sums3;
  if (LANES > 4u) {
    sums[4u] = sums4; sums[5u] = sums5; sums[6u] = sums6; sums[7u] = sums7;
  }
}
fn own_scale(row: u32, rows: u32, lane: u32) -> f32 {
  var own = 1.0;
  for (var i = 0u; i < TILE_ROWS; i++) {
    let scale = input_scale(min(row + i, rows - 1u) * (params.depth / 4u), lane);
    own = select(own, scale, i == lane);
  }
  return own;
}
fn fold_rows(value: vec4f, words: array<WeightWord, PER_LANE>, part: u32, scales: array<vec2f, PER_LANE>) {
  let weights = mat4x4f(
    unpack_weight(words[0], part, scales[0]), unpack_weight(words[1], part, scales[1]),
    unpack_weight(words[2], part, scales[2]), unpack_weight(words[3], part, scales[3]));
  sums0 = fold_columns(sums0, subgroupBroadcast(value, 0u), weights);
  sums1 = fold_columns(sums1, subgroupBroadcast(value, 1u), weights);
  sums2 = fold_columns(sums2, subgroupBroadcast(value, 2u), weights);
  sums3 = fold_columns(sums3, subgroupBroadcast(value, 3u), weights);
  if (LANES > 4u) {
    sums4 = fold_columns(sums4, subgroupBroadcast(value, 4u), weights);
    sums5 = fold_columns(sums5, subgroupBroadcast(value, 5u), weights);
    sums6 = fold_columns(sums6, subgroupBroadcast(value, 6u), weights);
    sums7 = fold_columns(sums7, subgroupBroadcast(value, 7u), weights);
  }
}
fn fold_columns(sums: vec4f, value: vec4f, weights: mat4x4f) -> vec4f {
  return vec4f(
    fold(sums.x, value, weights[0]), fold(sums.y, value, weights[1]),
    fold(sums.z, value, weights[2]), fold(sums.w, value, weights[3]));
}
`,
  },
  'e4m3': {
    uses: [],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `fn pack_e4m3(values: vec4f) -> u32 {
  let bits = bitcast<vec4u>(values);
  let magnitude = bits & vec4u(0x7fffffffu);
  let normal = ((magnitude + 0x7ffffu + ((magnitude >> vec4u(20u)) & vec4u(1u))) >> vec4u(20u)) - 960u;
  let subnormal = vec4u(round(bitcast<vec4f>(min(magnitude, vec4u(0x3c800000u))) * 512.0));
  let codes = select(normal, subnormal, magnitude < vec4u(0x3c800000u)) | ((bits >> vec4u(24u)) & vec4u(0x80u));
  return codes.x | (codes.y << 8u) | (codes.z << 16u) | (codes.w << 24u);
}
fn unpack_e4m3(word: u32) -> vec4f {
  let codes = (vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(0xffu);
  let magnitude = codes & vec4u(0x7fu);
  let normal = bitcast<vec4f>((magnitude << vec4u(20u)) + 0x3c000000u);
  let value = select(normal, vec4f(magnitude) * 0.001953125, magnitude < vec4u(8u));
  return select(value, -value, codes >= vec4u(128u));
}
`,
  },
  'element': {
    uses: [],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `const DTYPE_F32 = 0u;
const DTYPE_F16 = 1u;
const DTYPE_BF16 = 2u;
fn element_word(dtype: u32, index: u32) -> u32 {
  return select(index >> 1u, index, dtype == DTYPE_F32);
}
fn element_value(dtype: u32, word: u32, index: u32) -> f32 {
  if (dtype == DTYPE_F32) { return bitcast<f32>(word); }
  let half = (word >> ((index & 1u) * 16u)) & 0xffffu;
  if (dtype == DTYPE_F16) { return unpack2x16float(half).x; }
  return bitcast<f32>(half << 16u);
}
`,
  },
  'elements': {
    uses: [],
    enables: [],
    directives: [],
    consts: {"WORKGROUP":64},
    bindings: [],
    source: `@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let index = (workgroup.x + workgroup.y * workgroups.x) * WORKGROUP + local;
  if (index < element_count()) { run_element(index); }
}
`,
  },
  'float_bits': {
    uses: [],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `fn is_finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }
fn ordered_key(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}
fn float_of_key(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}
const KEY_POSITIVE_INFINITY = 0xff800000u;
const KEY_NEGATIVE_INFINITY = 0x007fffffu;
`,
  },
  'gated_output': {
    uses: ["element","activation"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `fn store_gated(row: u32, first: u32, gates: vec4f, ups: vec4f) {
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
`,
  },
  'half': {
    uses: [],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `fn half_bits(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  let sign = (bits >> 16u) & 0x8000u;
  let magnitude = bits & 0x7fffffffu;
  let subnormal = bitcast<u32>(bitcast<f32>(min(magnitude, 0x38800000u)) + 0.5) - 0x3f000000u;
  let normal = (magnitude + 0x0fffu + ((magnitude >> 13u) & 1u) - 0x38000000u) >> 13u;
  let number = min(select(normal, subnormal, magnitude < 0x38800000u), 0x7c00u);
  return sign | select(number, 0x7e00u, magnitude > 0x7f800000u);
}
fn pack_halves(low: f32, high: f32) -> u32 {
  return half_bits(low) | (half_bits(high) << 16u);
}
fn unpack_bf16(word: u32) -> vec2f {
  return vec2f(bitcast<f32>(word << 16u), bitcast<f32>(word & 0xffff0000u));
}
`,
  },
  'input_normed': {
    uses: ["rms","element","half"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `fn input_scale(start: u32, lane: u32) -> f32 {
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
`,
  },
  'input_plain': {
    uses: [],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `fn input_scale(start: u32, lane: u32) -> f32 { return 1.0; }
fn norm_vector(k: u32) -> vec4f { return vec4f(1.0); }
fn input_vector(at: u32, scale: f32, norm: vec4f) -> vec4f { return x[at]; }
`,
  },
  'integer_q4': {
    uses: [],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `fn integer_words(row: u32, k: u32, zero: f32) -> vec2u {
  let codes = (vec2u(weight[row + k / 2u]) >> vec2u(0u, 4u)) & vec2u(0x0f0f0f0fu);
  return (codes + vec2u(0x80808080u - u32(zero) * 0x01010101u)) ^ vec2u(0x80808080u);
}
fn integer_order(low: vec4f, high: vec4f) -> array<vec4f, 2> {
  return array<vec4f, 2>(vec4f(low.x, high.x, low.y, high.y), vec4f(low.z, high.z, low.w, high.w));
}
`,
  },
  'kv_f16': {
    uses: [],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `alias KvWord = vec2u;
fn unpack_kv(word: KvWord) -> vec4f { return vec4f(unpack2x16float(word.x), unpack2x16float(word.y)); }
fn key_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
fn value_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
`,
  },
  'kv_f32': {
    uses: [],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `alias KvWord = vec4f;
fn unpack_kv(word: KvWord) -> vec4f { return word; }
fn key_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
fn value_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
`,
  },
  'kv_f8e4m3': {
    uses: ["e4m3"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `alias KvWord = u32;
fn unpack_kv(word: KvWord) -> vec4f { return unpack_e4m3(word); }
fn key_scales(rows: vec4u) -> vec4f { return vec4f(k_scales[rows.x], k_scales[rows.y], k_scales[rows.z], k_scales[rows.w]); }
fn value_scales(rows: vec4u) -> vec4f { return vec4f(v_scales[rows.x], v_scales[rows.y], v_scales[rows.z], v_scales[rows.w]); }
`,
  },
  'kv_i8': {
    uses: [],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `alias KvWord = u32;
fn unpack_kv(word: KvWord) -> vec4f { return vec4f(unpack4xI8(word)); }
fn key_scales(rows: vec4u) -> vec4f { return vec4f(k_scales[rows.x], k_scales[rows.y], k_scales[rows.z], k_scales[rows.w]); }
fn value_scales(rows: vec4u) -> vec4f { return vec4f(v_scales[rows.x], v_scales[rows.y], v_scales[rows.z], v_scales[rows.w]); }
`,
  },
  'kv_native_f16': {
    uses: [],
    enables: ["f16"],
    directives: [],
    consts: {},
    bindings: [],
    source: `alias KvWord = vec4<f16>;
fn unpack_kv(word: KvWord) -> vec4f { return vec4f(word); }
fn key_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
fn value_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
`,
  },
  'lanes_one': {
    uses: [],
    enables: [],
    directives: [],
    consts: {"WORKGROUP":4},
    bindings: [],
    source: `const LANES = 1u;
var<private> published: array<vec4f, PUBLISHED>;
@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  run((workgroup.x + workgroup.y * workgroups.x) * WORKGROUP + local, 0u);
}
fn lane_sum(value: f32) -> f32 { return value; }
fn lane_sum4(value: vec4f) -> vec4f { return value; }
fn lane_max(value: f32) -> f32 { return value; }
fn lane_uniform(value: u32) -> u32 { return value; }
fn lane_publish(slot: u32, lane: u32, value: vec4f) { published[slot] = value; }
fn lane_sync() {}
fn lane_read(slot: u32, lane: u32) -> vec4f { return published[slot]; }
`,
  },
  'lanes_subgroup': {
    uses: [],
    enables: ["subgroups"],
    directives: ["diagnostic(off, subgroup_uniformity)"],
    consts: {"LANES":32},
    bindings: [],
    source: `var<private> published: array<vec4f, PUBLISHED>;
@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  run(workgroup.x + workgroup.y * workgroups.x, lane);
}
fn lane_sum(value: f32) -> f32 { return subgroupAdd(value); }
fn lane_sum4(value: vec4f) -> vec4f { return subgroupAdd(value); }
fn lane_max(value: f32) -> f32 { return subgroupMax(value); }
fn lane_uniform(value: u32) -> u32 { return subgroupBroadcastFirst(value); }
fn lane_publish(slot: u32, lane: u32, value: vec4f) { published[slot] = value; }
fn lane_sync() {}
fn lane_read(slot: u32, lane: u32) -> vec4f { return subgroupShuffle(published[slot], lane); }
`,
  },
  'lanes_workgroup': {
    uses: [],
    enables: [],
    directives: [],
    consts: {"LANES":32},
    bindings: [],
    source: `var<workgroup> published: array<vec4f, PUBLISHED * LANES>;
var<workgroup> partial: array<vec4f, LANES>;
var<workgroup> shared_u32: u32;
var<private> my_lane: u32;
@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  my_lane = lane;
  run(workgroup.x + workgroup.y * workgroups.x, lane);
}
fn lane_sum4(value: vec4f) -> vec4f {
  workgroupBarrier();
  partial[my_lane] = value;
  workgroupBarrier();
  var sum = partial[0];
  for (var i = 1u; i < LANES; i++) { sum += partial[i]; }
  return sum;
}
fn lane_sum(value: f32) -> f32 { return lane_sum4(vec4f(value, 0.0, 0.0, 0.0)).x; }
fn lane_max(value: f32) -> f32 {
  workgroupBarrier();
  partial[my_lane] = vec4f(value);
  workgroupBarrier();
  var result = partial[0].x;
  for (var i = 1u; i < LANES; i++) { result = max(result, partial[i].x); }
  return result;
}
fn lane_uniform(value: u32) -> u32 {
  workgroupBarrier();
  if (my_lane == 0u) { shared_u32 = value; }
  return workgroupUniformLoad(&shared_u32);
}
fn lane_publish(slot: u32, lane: u32, value: vec4f) { published[slot * LANES + lane] = value; }
fn lane_sync() { workgroupBarrier(); }
fn lane_read(slot: u32, lane: u32) -> vec4f { return published[slot * LANES + lane]; }
`,
  },
  'linear_output': {
    uses: ["element","activation"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `const RESIDUAL_NONE = 0u;
const RESIDUAL_READ = 1u;
const RESIDUAL_IN_OUT = 2u;
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
`,
  },
  'matrix_element': {
    uses: ["element"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `const DTYPE_Q8 = 3u;
const DTYPE_Q4_32Z = 6u;
fn matrix_element(dtype: u32, row: u32, column: u32, columns: u32) -> f32 {
  if (dtype > DTYPE_Q8) { return q4_element(dtype, row, column, columns); }
  if (dtype == DTYPE_Q8) {
    let scale_at = (columns + 15u) / 16u * 4u;
    let record = row * ((scale_at + 8u) / 8u * 8u);
    let code = extractBits(bitcast<i32>(weight[record + column / 4u]), 8u * (column & 3u), 8u);
    return bitcast<f32>(weight[record + scale_at]) * f32(code);
  }
  let index = row * columns + column;
  return element_value(dtype, weight[element_word(dtype, index)], index);
}
fn q4_element(dtype: u32, row: u32, column: u32, columns: u32) -> f32 {
  let zeros = dtype >= DTYPE_Q4_32Z;
  let group_size = select(32u, 128u, (dtype & 1u) == 1u);
  let groups = columns / group_size;
  let scales_at = columns / 8u;
  let record = row * ((scales_at + select((groups + 1u) / 2u, groups, zeros) + 7u) / 8u * 8u);
  let code = f32(extractBits(weight[record + column / 8u], 16u * (column & 1u) + 2u * (column & 6u), 4u));
  let group = column / group_size;
  let pair = unpack2x16float(weight[record + scales_at + select(group / 2u, group, zeros)]);
  if (zeros) { return pair.x * (code - pair.y); }
  return select(pair.x, pair.y, (group & 1u) == 1u) * (code - 8.0);
}
`,
  },
  'packed': {
    uses: [],
    enables: [],
    directives: [],
    consts: {"TILE_ROWS":1},
    bindings: [],
    source: `const PUBLISHED = 1u;
var<private> digits: array<vec4u, TILE_ROWS * 8u>;
var<private> units: array<f32, TILE_ROWS>;
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
    for (var column = 0u; column < 8u; column++) { add_products(column, weights_at[column], k); }
  }
  for (var i = 0u; i < TILE_ROWS; i++) {
    let low = lane_sum4(vec4f(sums[8u * i], sums[8u * i + 1u], sums[8u * i + 2u], sums[8u * i + 3u]) * weight_scales(low_at));
    let high = lane_sum4(vec4f(sums[8u * i + 4u], sums[8u * i + 5u], sums[8u * i + 6u], sums[8u * i + 7u]) * weight_scales(high_at));
    if (lane == i % LANES && row + i < rows) { store_tile(row + i, first, low, high); }
  }
}
fn take_digits(tile_row: u32, start: u32, k: u32, scale: f32) {
  var values: array<vec4f, 8>;
  var largest = vec4u();
  for (var i = 0u; i < 8u; i++) {
    values[i] = input_vector(start + k + i, scale, norm_vector(k + i));
    largest = max(largest, bitcast<vec4u>(values[i]) & vec4u(0x7fffffffu));
  }
  let exponent = max(max(max(largest.x, largest.y), max(largest.z, largest.w)) >> 23u, 64u);
  units[tile_row] = bitcast<f32>(select((exponent - 29u) << 23u, 0x7fc00000u, exponent == 255u));
  let per_unit = bitcast<f32>((283u - exponent) << 23u);
  for (var i = 0u; i < 8u; i += 2u) {
    let ordered = integer_order(values[i] * per_unit, values[i + 1u] * per_unit);
    digits[tile_row * 8u + i] = digits_of(ordered[0]);
    digits[tile_row * 8u + i + 1u] = digits_of(ordered[1]);
  }
}
fn digits_of(numbers: vec4f) -> vec4u {
  let carried = (bitcast<vec4u>(vec4i(round(numbers))) + vec4u(0x00808080u)) ^ vec4u(0x00808080u);
  return vec4u(
    pack4xU8(carried & vec4u(0xffu)), pack4xU8((carried >> vec4u(8u)) & vec4u(0xffu)),
    pack4xU8((carried >> vec4u(16u)) & vec4u(0xffu)), pack4xU8(carried >> vec4u(24u)));
}
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
`,
  },
  'paged': {
    uses: [],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `fn cache_row(block: u32, kv_head: u32, offset: u32, kv_heads: u32, block_size: u32) -> u32 {
  return (block * kv_heads + kv_head) * block_size + offset;
}
`,
  },
  'penalty_row': {
    uses: [],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `const COUNT_IN_PROMPT = 0x80000000u;
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
`,
  },
  'philox': {
    uses: [],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `fn multiply_high(a: u32, b: u32) -> u32 {
  let a_low = a & 0xffffu;
  let a_high = a >> 16u;
  let b_low = b & 0xffffu;
  let b_high = b >> 16u;
  let middle = a_high * b_low + ((a_low * b_low) >> 16u);
  let carry = a_low * b_high + (middle & 0xffffu);
  return a_high * b_high + (middle >> 16u) + (carry >> 16u);
}
fn philox(counter: vec4u, key: vec2u) -> vec4u {
  var c = counter;
  var k = key;
  for (var round = 0u; round < 10u; round++) {
    let high0 = multiply_high(0xd2511f53u, c.x);
    let high1 = multiply_high(0xcd9e8d57u, c.z);
    c = vec4u(high1 ^ c.y ^ k.x, 0xcd9e8d57u * c.z, high0 ^ c.w ^ k.y, 0xd2511f53u * c.x);
    k += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}
fn gumbel(word: u32) -> f32 {
  let u = (f32(word) + 0.5) * 0x1p-32;
  let rest = max((f32(~word) + 0.5) * 0x1p-32, 0x1p-24);
  let s = u / (2.0 - u);
  let s2 = s * s;
  let series = 2.0 * s * (1.0 + s2 * (1.0 / 3.0 + s2 * (0.2 + s2 * (1.0 / 7.0 + s2 / 9.0))));
  return -log(select(-log(rest), series, u < 0.25));
}
`,
  },
  'rms': {
    uses: [],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `fn rms_scale(squares: f32, width: u32) -> f32 {
  return 1.0 / sqrt(lane_sum(squares) / f32(width) + params.eps);
}
`,
  },
  'rotary': {
    uses: ["element"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `fn first_of(pair: u32) -> u32 { return select(pair, 2u * pair, params.interleaved != 0u); }
fn second_of(pair: u32) -> u32 { return first_of(pair) + select(params.pairs, 1u, params.interleaved != 0u); }
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
`,
  },
  'sampled_pair': {
    uses: ["vocabulary","float_bits"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `struct Scan {
  best: Candidate,
  finite: bool,
}
fn scan_token(scan: ptr<function, Scan>, id: u32, logit: f32, score: f32) {
  (*scan).finite = (*scan).finite && is_finite(logit);
  let key = ordered_key(score);
  if (key <= KEY_POSITIVE_INFINITY && key > KEY_NEGATIVE_INFINITY) { (*scan).best = better((*scan).best, Candidate(key, id)); }
}
fn write_pair(sample: u32, lane: u32, scan: Scan) {
  let best = workgroup_best(lane, scan.best);
  let broken = workgroup_count(lane, select(1u, 0u, scan.finite));
  if (lane != 0u) { return; }
  let known = samples[sample * SAMPLE_WORDS + SAMPLE_TARGET];
  let chosen = select(best.id, 0u, best.key == 0u);
  sampled[2u * sample] = select(known, chosen, known == NONE);
  sampled[2u * sample + 1u] = FLAG_LIVE | select(0u, FLAG_FINITE, broken == 0u);
}
fn write_no_pair(sample: u32, lane: u32) {
  if (lane != 0u) { return; }
  sampled[2u * sample] = NONE;
  sampled[2u * sample + 1u] = 0u;
}
`,
  },
  'sizes': {
    uses: [],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `@group(1) @binding(0) var<uniform> step_sizes: array<vec4u, 2>;
const SYMBOLIC = 0x80000000u;
fn resolve_size(dim: u32) -> u32 {
  let index = dim & 7u;
  return select(dim, step_sizes[index >> 2u][index & 3u], dim >= SYMBOLIC);
}
`,
  },
  'vocabulary': {
    uses: [],
    enables: [],
    directives: [],
    consts: {"LANES":64},
    bindings: [],
    source: `var<workgroup> lane_values: array<f32, LANES>;
var<workgroup> lane_words: array<u32, LANES>;
var<workgroup> common_word: u32;
@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let sample = workgroup.x + workgroup.y * workgroups.x;
  if (sample < sample_count()) { run_sample(sample, lane); }
}
fn workgroup_value(lane: u32, value: u32) -> u32 {
  workgroupBarrier();
  if (lane == 0u) { common_word = value; }
  return workgroupUniformLoad(&common_word);
}
fn workgroup_sum(lane: u32, value: f32) -> f32 {
  workgroupBarrier();
  lane_values[lane] = value;
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < LANES; i++) { total += lane_values[i]; }
  return total;
}
fn workgroup_count(lane: u32, value: u32) -> u32 {
  workgroupBarrier();
  lane_words[lane] = value;
  workgroupBarrier();
  var total = 0u;
  for (var i = 0u; i < LANES; i++) { total += lane_words[i]; }
  return total;
}
fn workgroup_max_key(lane: u32, key: u32) -> u32 {
  workgroupBarrier();
  lane_words[lane] = key;
  workgroupBarrier();
  var result = lane_words[0];
  for (var i = 1u; i < LANES; i++) { result = max(result, lane_words[i]); }
  return result;
}
struct Candidate {
  key: u32,
  id: u32,
}
fn better(a: Candidate, b: Candidate) -> Candidate {
  if (b.key > a.key || (b.key == a.key && b.id < a.id)) { return b; }
  return a;
}
var<workgroup> lane_candidates: array<Candidate, LANES>;
fn workgroup_best(lane: u32, candidate: Candidate) -> Candidate {
  workgroupBarrier();
  lane_candidates[lane] = candidate;
  workgroupBarrier();
  var result = lane_candidates[0];
  for (var i = 1u; i < LANES; i++) { result = better(result, lane_candidates[i]); }
  return result;
}
`,
  },
  'weights_bf16': {
    uses: ["half"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `alias WeightWord = vec2u;
const STEP = 1u;
const SHARED = 1u;
fn weight_rows(columns: vec4u) -> vec4u { return columns * (params.depth / 4u); }
fn weight_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
fn group_scale(row: u32, k: u32) -> vec2f { return vec2f(1.0); }
fn unpack_weight(word: WeightWord, part: u32, scale: vec2f) -> vec4f {
  return vec4f(unpack_bf16(word.x), unpack_bf16(word.y));
}
fn load_weight(row: u32, k: u32) -> vec4f { return unpack_weight(weight[row + k], 0u, vec2f()); }
`,
  },
  'weights_f16': {
    uses: [],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `alias WeightWord = vec2u;
const STEP = 1u;
const SHARED = 1u;
fn weight_rows(columns: vec4u) -> vec4u { return columns * (params.depth / 4u); }
fn weight_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
fn group_scale(row: u32, k: u32) -> vec2f { return vec2f(1.0); }
fn unpack_weight(word: WeightWord, part: u32, scale: vec2f) -> vec4f {
  return vec4f(unpack2x16float(word.x), unpack2x16float(word.y));
}
fn load_weight(row: u32, k: u32) -> vec4f { return unpack_weight(weight[row + k], 0u, vec2f()); }
`,
  },
  'weights_f32': {
    uses: [],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `alias WeightWord = vec4f;
const STEP = 1u;
const SHARED = 1u;
fn weight_rows(columns: vec4u) -> vec4u { return columns * (params.depth / 4u); }
fn weight_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
fn group_scale(row: u32, k: u32) -> vec2f { return vec2f(1.0); }
fn unpack_weight(word: WeightWord, part: u32, scale: vec2f) -> vec4f { return word; }
fn load_weight(row: u32, k: u32) -> vec4f { return weight[row + k]; }
`,
  },
  'weights_q4': {
    uses: ["integer_q4"],
    enables: [],
    directives: [],
    consts: {"GROUP":32},
    bindings: [],
    source: `alias WeightWord = u32;
const STEP = 2u;
const SHARED = GROUP / 4u;
fn weight_rows(columns: vec4u) -> vec4u { return columns * ((params.depth / 8u + (params.depth / GROUP + 1u) / 2u + 7u) / 8u * 8u); }
fn weight_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
fn group_scale(row: u32, k: u32) -> vec2f {
  let group = k / SHARED;
  let scales = unpack2x16float(weight[row + params.depth / 8u + group / 2u]);
  return vec2f(select(scales.x, scales.y, (group & 1u) == 1u), 8.0);
}
fn unpack_weight(word: WeightWord, part: u32, scale: vec2f) -> vec4f {
  let codes = (vec4u(word) >> (vec4u(0u, 16u, 4u, 20u) + part * 8u)) & vec4u(15u);
  return (vec4f(codes) - scale.y) * scale.x;
}
fn load_weight(row: u32, k: u32) -> vec4f { return unpack_weight(weight[row + k / 2u], k & 1u, group_scale(row, k)); }
`,
  },
  'weights_q4_zeros': {
    uses: ["integer_q4"],
    enables: [],
    directives: [],
    consts: {"GROUP":32},
    bindings: [],
    source: `alias WeightWord = u32;
const STEP = 2u;
const SHARED = GROUP / 4u;
fn weight_rows(columns: vec4u) -> vec4u { return columns * ((params.depth / 8u + params.depth / GROUP + 7u) / 8u * 8u); }
fn weight_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
fn group_scale(row: u32, k: u32) -> vec2f { return unpack2x16float(weight[row + params.depth / 8u + k / SHARED]); }
fn unpack_weight(word: WeightWord, part: u32, scale: vec2f) -> vec4f {
  let codes = (vec4u(word) >> (vec4u(0u, 16u, 4u, 20u) + part * 8u)) & vec4u(15u);
  return (vec4f(codes) - scale.y) * scale.x;
}
fn load_weight(row: u32, k: u32) -> vec4f { return unpack_weight(weight[row + k / 2u], k & 1u, group_scale(row, k)); }
`,
  },
  'weights_q8': {
    uses: [],
    enables: [],
    directives: [],
    consts: {},
    bindings: [],
    source: `alias WeightWord = u32;
const STEP = 1u;
const SHARED = 1u;
fn code_words() -> u32 { return (params.depth + 15u) / 16u * 4u; }
fn weight_rows(columns: vec4u) -> vec4u { return columns * ((code_words() + 8u) / 8u * 8u); }
fn group_scale(row: u32, k: u32) -> vec2f { return vec2f(1.0, 0.0); }
fn unpack_weight(word: WeightWord, part: u32, scale: vec2f) -> vec4f { return vec4f(unpack4xI8(word)); }
fn load_weight(row: u32, k: u32) -> vec4f { return unpack_weight(weight[row + k], 0u, vec2f()); }
fn weight_scales(rows: vec4u) -> vec4f {
  let at = rows + code_words();
  return bitcast<vec4f>(vec4u(weight[at.x], weight[at.y], weight[at.z], weight[at.w]));
}
fn integer_words(row: u32, k: u32, zero: f32) -> vec2u { return vec2u(weight[row + k], weight[row + k + 1u]); }
fn integer_order(low: vec4f, high: vec4f) -> array<vec4f, 2> { return array<vec4f, 2>(low, high); }
`,
  },
} as const;

export const shaders = {
  'add': {
    uses: ["sizes","elements"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"a","access":"read_write","type":"array<f32>"},{"index":1,"name":"b","access":"read_write","type":"array<f32>"},{"index":2,"name":"out","access":"read_write","type":"array<f32>"},{"index":3,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"rows","type":"u32"},{"name":"width","type":"u32"},{"name":"in_place","type":"u32"}],
    source: `struct Params {
  rows: u32,
  width: u32,
  in_place: u32,
}
@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;
fn element_count() -> u32 { return resolve_size(params.rows) * params.width; }
fn run_element(index: u32) {
  if (params.in_place != 0u) {
    out[index] += b[index];
  } else {
    out[index] = a[index] + b[index];
  }
}
`,
  },
  'advance_rows': {
    uses: ["sizes","elements"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"batch","access":"read_write","type":"array<u32>"},{"index":1,"name":"sequences","access":"read_write","type":"array<u32>"},{"index":2,"name":"samples","access":"read_write","type":"array<u32>"},{"index":3,"name":"sampled","access":"read_write","type":"array<u32>"},{"index":4,"name":"rows","access":"read_write","type":"array<u32>"},{"index":5,"name":"token_ids","access":"read_write","type":"array<u32>"},{"index":6,"name":"ring","access":"read_write","type":"array<u32>"},{"index":7,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"sequences","type":"u32"},{"name":"max_rows","type":"u32"},{"name":"max_tokens","type":"u32"},{"name":"ring_slots","type":"u32"}],
    source: `struct Params {
  sequences: u32,
  max_rows: u32,
  max_tokens: u32,
  ring_slots: u32,
}
@group(0) @binding(0) var<storage, read_write> batch: array<u32>;
@group(0) @binding(1) var<storage, read_write> sequences: array<u32>;
@group(0) @binding(2) var<storage, read_write> samples: array<u32>;
@group(0) @binding(3) var<storage, read_write> sampled: array<u32>;
@group(0) @binding(4) var<storage, read_write> rows: array<u32>;
@group(0) @binding(5) var<storage, read_write> token_ids: array<u32>;
@group(0) @binding(6) var<storage, read_write> ring: array<u32>;
@group(0) @binding(7) var<uniform> params: Params;
fn element_count() -> u32 { return resolve_size(params.sequences); }
fn report(row: u32, id: u32, flags: u32) {
  let slot = (batch[HEADER_STEP_COUNTER] - 1u) % params.ring_slots;
  let at = (slot * params.max_rows + row) * 2u;
  ring[at] = id;
  ring[at + 1u] = flags;
}
fn run_element(index: u32) {
  let at = index * SEQUENCE_WORDS;
  let row = sequences[at + SEQUENCE_ROW];
  let row_words = row * ROW_WORDS;
  let live = sequences[at + SEQUENCE_CONTEXT_LEN] > 0u;
  let count = sequences[at + SEQUENCE_SAMPLE_COUNT];
  if (live) { rows[row_words + ROW_NUM_COMPUTED] += sequences[at + SEQUENCE_QUERY_LEN]; }
  if (count == 0u) { return; }
  if (!live) {
    report(row, NONE, 0u);
    return;
  }
  let last = sequences[at + SEQUENCE_SAMPLE_START] + count - 1u;
  let id = sampled[last * 2u];
  if (samples[last * SAMPLE_WORDS + SAMPLE_TARGET] == NONE) {
    let known = rows[row_words + ROW_NUM_TOKENS];
    if (known < params.max_tokens) { token_ids[row * params.max_tokens + known] = id; }
    rows[row_words + ROW_NUM_TOKENS] = known + 1u;
  }
  report(row, id, sampled[last * 2u + 1u]);
}
`,
  },
  'apply_row_delta': {
    uses: ["sizes"],
    enables: [],
    directives: [],
    consts: {"WORKGROUP":64},
    bindings: [{"index":0,"name":"delta","access":"read_write","type":"array<u32>"},{"index":1,"name":"rows","access":"read_write","type":"array<u32>"},{"index":2,"name":"block_tables","access":"read_write","type":"array<u32>"},{"index":3,"name":"token_ids","access":"read_write","type":"array<u32>"},{"index":4,"name":"batch","access":"read_write","type":"array<u32>"},{"index":5,"name":"biases","access":"read_write","type":"array<u32>"}],
    fragments: {},
    params: [],
    source: `@group(0) @binding(0) var<storage, read_write> delta: array<u32>;
@group(0) @binding(1) var<storage, read_write> rows: array<u32>;
@group(0) @binding(2) var<storage, read_write> block_tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> token_ids: array<u32>;
@group(0) @binding(4) var<storage, read_write> batch: array<u32>;
@group(0) @binding(5) var<storage, read_write> biases: array<u32>;
@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let segment = workgroup.x + workgroup.y * workgroups.x;
  if (segment >= delta[0]) { return; }
  let record = DELTA_HEADER_WORDS + segment * DELTA_SEGMENT_WORDS;
  let target_tensor = delta[record];
  let destination = delta[record + 1u];
  let source = delta[record + 2u];
  let length = delta[record + 3u];
  for (var i = lane; i < length; i += WORKGROUP) {
    let word = delta[source + i];
    switch (target_tensor) {
      case TARGET_ROWS: { rows[destination + i] = word; }
      case TARGET_BLOCK_TABLES: { block_tables[destination + i] = word; }
      case TARGET_TOKEN_IDS: { token_ids[destination + i] = word; }
      case TARGET_BATCH: { batch[destination + i] = word; }
      default: { biases[destination + i] = word; }
    }
  }
}
`,
  },
  'argmax': {
    uses: ["sizes","sampled_pair"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"logits","access":"read_write","type":"array<f32>"},{"index":1,"name":"samples","access":"read_write","type":"array<u32>"},{"index":2,"name":"sampled","access":"read_write","type":"array<u32>"},{"index":3,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"samples","type":"u32"},{"name":"vocabulary","type":"u32"}],
    source: `struct Params {
  samples: u32,
  vocabulary: u32,
}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> samples: array<u32>;
@group(0) @binding(2) var<storage, read_write> sampled: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;
fn sample_count() -> u32 { return resolve_size(params.samples); }
fn run_sample(sample: u32, lane: u32) {
  if (workgroup_value(lane, samples[sample * SAMPLE_WORDS + SAMPLE_ROW]) == NONE) {
    write_no_pair(sample, lane);
    return;
  }
  var scan = Scan(Candidate(0u, NONE), true);
  let start = sample * params.vocabulary;
  for (var id = lane; id < params.vocabulary; id += LANES) {
    let logit = logits[start + id];
    scan_token(&scan, id, logit, logit);
  }
  write_pair(sample, lane, scan);
}
`,
  },
  'bias_logits': {
    uses: ["sizes","vocabulary"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"logits","access":"read_write","type":"array<f32>"},{"index":1,"name":"samples","access":"read_write","type":"array<u32>"},{"index":2,"name":"rows","access":"read_write","type":"array<u32>"},{"index":3,"name":"biases","access":"read_write","type":"array<u32>"},{"index":4,"name":"out","access":"read_write","type":"array<f32>"},{"index":5,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"samples","type":"u32"},{"name":"vocabulary","type":"u32"},{"name":"words","type":"u32"},{"name":"in_place","type":"u32"}],
    source: `struct Params {
  samples: u32,
  vocabulary: u32,
  words: u32,
  in_place: u32,
}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> samples: array<u32>;
@group(0) @binding(2) var<storage, read_write> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> biases: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;
fn sample_count() -> u32 { return resolve_size(params.samples); }
fn owns(lane: u32, id: u32) -> bool { return id < params.vocabulary && id % LANES == lane; }
fn run_sample(sample: u32, lane: u32) {
  let start = sample * params.vocabulary;
  if (params.in_place == 0u) {
    for (var id = lane; id < params.vocabulary; id += LANES) { out[start + id] = logits[start + id]; }
  }
  let record = sample * SAMPLE_WORDS;
  let row = samples[record + SAMPLE_ROW];
  if (row == NONE || samples[record + SAMPLE_TARGET] != NONE) { return; }
  let stops = rows[row * ROW_WORDS + ROW_NUM_STOP_IDS];
  let list = row * params.words;
  for (var i = 0u; i < rows[row * ROW_WORDS + ROW_NUM_BIASES]; i++) {
    let pair = list + stops + 2u * i;
    if (owns(lane, biases[pair])) { out[start + biases[pair]] += bitcast<f32>(biases[pair + 1u]); }
  }
  if (samples[record + SAMPLE_POSITION] >= rows[row * ROW_WORDS + ROW_MIN_TOKENS_UNTIL]) { return; }
  for (var i = 0u; i < stops; i++) {
    if (owns(lane, biases[list + i])) { out[start + biases[list + i]] = MASKED_LOGIT; }
  }
}
`,
  },
  'copy_blocks/gather': {
    uses: ["sizes","elements"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"k_cache","access":"read_write","type":"array<u32>"},{"index":1,"name":"v_cache","access":"read_write","type":"array<u32>"},{"index":2,"name":"pairs","access":"read_write","type":"array<u32>"},{"index":3,"name":"scratch","access":"read_write","type":"array<u32>"},{"index":4,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"count","type":"u32"},{"name":"words","type":"u32"}],
    source: `struct Params {
  count: u32,
  words: u32,
}
@group(0) @binding(0) var<storage, read_write> k_cache: array<u32>;
@group(0) @binding(1) var<storage, read_write> v_cache: array<u32>;
@group(0) @binding(2) var<storage, read_write> pairs: array<u32>;
@group(0) @binding(3) var<storage, read_write> scratch: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;
fn element_count() -> u32 { return resolve_size(params.count) * params.words; }
fn run_element(index: u32) {
  let pair = index / params.words;
  let word = index % params.words;
  let source = pairs[2u * pair];
  if (source == NONE || pairs[2u * pair + 1u] == NONE) { return; }
  scratch[2u * pair * params.words + word] = k_cache[source * params.words + word];
  scratch[(2u * pair + 1u) * params.words + word] = v_cache[source * params.words + word];
}
`,
  },
  'copy_blocks/scatter': {
    uses: ["sizes","elements"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"k_cache","access":"read_write","type":"array<u32>"},{"index":1,"name":"v_cache","access":"read_write","type":"array<u32>"},{"index":2,"name":"pairs","access":"read_write","type":"array<u32>"},{"index":3,"name":"scratch","access":"read_write","type":"array<u32>"},{"index":4,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"count","type":"u32"},{"name":"words","type":"u32"}],
    source: `struct Params {
  count: u32,
  words: u32,
}
@group(0) @binding(0) var<storage, read_write> k_cache: array<u32>;
@group(0) @binding(1) var<storage, read_write> v_cache: array<u32>;
@group(0) @binding(2) var<storage, read_write> pairs: array<u32>;
@group(0) @binding(3) var<storage, read_write> scratch: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;
fn element_count() -> u32 { return resolve_size(params.count) * params.words; }
fn run_element(index: u32) {
  let pair = index / params.words;
  let word = index % params.words;
  let destination = pairs[2u * pair + 1u];
  if (pairs[2u * pair] == NONE || destination == NONE) { return; }
  k_cache[destination * params.words + word] = scratch[2u * pair * params.words + word];
  v_cache[destination * params.words + word] = scratch[(2u * pair + 1u) * params.words + word];
}
`,
  },
  'device/move_blocks': {
    uses: ["elements"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"cache","access":"read_write","type":"array<u32>"},{"index":1,"name":"blocks","access":"read","type":"array<u32>"},{"index":2,"name":"staging","access":"read_write","type":"array<u32>"},{"index":3,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"count","type":"u32"},{"name":"block_words","type":"u32"},{"name":"stride","type":"u32"},{"name":"offset","type":"u32"},{"name":"to_staging","type":"u32"}],
    source: `struct Params {
  count: u32,
  block_words: u32,
  stride: u32,
  offset: u32,
  to_staging: u32,
}
@group(0) @binding(0) var<storage, read_write> cache: array<u32>;
@group(0) @binding(1) var<storage, read> blocks: array<u32>;
@group(0) @binding(2) var<storage, read_write> staging: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;
fn element_count() -> u32 { return params.count * params.block_words; }
fn run_element(index: u32) {
  let entry = index / params.block_words;
  let word = index % params.block_words;
  let in_cache = blocks[entry] * params.block_words + word;
  let in_staging = entry * params.stride + params.offset + word;
  if (params.to_staging != 0u) {
    staging[in_staging] = cache[in_cache];
  } else {
    cache[in_cache] = staging[in_staging];
  }
}
`,
  },
  'device/patch_word': {
    uses: [],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"words","access":"read_write","type":"array<u32>"},{"index":1,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"word","type":"u32"},{"name":"mask","type":"u32"},{"name":"value","type":"u32"}],
    source: `struct Params {
  word: u32,
  mask: u32,
  value: u32,
}
@group(0) @binding(0) var<storage, read_write> words: array<u32>;
@group(0) @binding(1) var<uniform> params: Params;
@compute @workgroup_size(1)
fn main() {
  words[params.word] = (words[params.word] & ~params.mask) | (params.value & params.mask);
}
`,
  },
  'embed': {
    uses: ["sizes","elements","matrix_element"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"ids","access":"read_write","type":"array<u32>"},{"index":1,"name":"weight","access":"read","type":"array<u32>"},{"index":2,"name":"out","access":"read_write","type":"array<f32>"},{"index":3,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"rows","type":"u32"},{"name":"width","type":"u32"},{"name":"table_rows","type":"u32"},{"name":"shift","type":"i32"},{"name":"dtype","type":"u32"}],
    source: `struct Params {
  rows: u32,
  width: u32,
  table_rows: u32,
  shift: i32,
  dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> ids: array<u32>;
@group(0) @binding(1) var<storage, read> weight: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;
fn element_count() -> u32 { return resolve_size(params.rows) * params.width; }
fn run_element(index: u32) {
  let row = ids[index / params.width] + u32(params.shift);
  if (row >= params.table_rows) { return; }
  out[index] = matrix_element(params.dtype, row, index % params.width, params.width);
}
`,
  },
  'filter_logits': {
    uses: ["sizes","vocabulary","float_bits","philox"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"logits","access":"read_write","type":"array<f32>"},{"index":1,"name":"samples","access":"read_write","type":"array<u32>"},{"index":2,"name":"rows","access":"read_write","type":"array<u32>"},{"index":3,"name":"thresholds","access":"read_write","type":"array<f32>"},{"index":4,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"samples","type":"u32"},{"name":"vocabulary","type":"u32"}],
    source: `struct Params {
  samples: u32,
  vocabulary: u32,
}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> samples: array<u32>;
@group(0) @binding(2) var<storage, read_write> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> thresholds: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;
struct Filter {
  start: u32,
  temperature: f32,
  min_p: f32,
  largest: f32,
  smallest_key: u32,
  total: f32,
}
var<private> filter_state: Filter;
var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> selected_bin: u32;
var<workgroup> still_needed: u32;
const MASS_UNIT = 2147483648.0;
const COUNTS = 0u;
const MASSES = 1u;
const WANTS_MIN_P = 1u;
const WANTS_TOP_K = 2u;
const WANTS_TOP_P = 4u;
fn sample_count() -> u32 { return resolve_size(params.samples); }
fn weight_of(logit: f32) -> f32 {
  return exp(max((logit - filter_state.largest) / filter_state.temperature, -100.0));
}
fn survives(logit: f32) -> bool {
  if (ordered_key(logit) < filter_state.smallest_key || logit <= MASKED_LOGIT) { return false; }
  return weight_of(logit) >= filter_state.min_p;
}
fn amount(kind: u32, logit: f32) -> u32 {
  if (kind == COUNTS) { return 1u; }
  if (!survives(logit)) { return 0u; }
  return u32(floor(weight_of(logit) / filter_state.total * MASS_UNIT));
}
fn select_key(lane: u32, kind: u32, needed: u32) -> u32 {
  var prefix = 0u;
  var rest = needed;
  for (var pass_index = 0u; pass_index < 4u; pass_index++) {
    let shift = 24u - 8u * pass_index;
    for (var bin = lane; bin < 256u; bin += LANES) { atomicStore(&histogram[bin], 0u); }
    workgroupBarrier();
    for (var id = lane; id < params.vocabulary; id += LANES) {
      let logit = logits[filter_state.start + id];
      let key = ordered_key(logit);
      if (((key >> shift) >> 8u) == prefix) {
        let value = amount(kind, logit);
        if (value > 0u) { atomicAdd(&histogram[(key >> shift) & 255u], value); }
      }
    }
    workgroupBarrier();
    if (lane == 0u) { pick_bin(rest); }
    prefix = (prefix << 8u) | workgroupUniformLoad(&selected_bin);
    rest = workgroupUniformLoad(&still_needed);
  }
  return prefix;
}
fn pick_bin(needed: u32) {
  var rest = needed;
  selected_bin = 0u;
  for (var i = 0u; i < 256u; i++) {
    let value = atomicLoad(&histogram[255u - i]);
    if (value >= rest) {
      selected_bin = 255u - i;
      break;
    }
    rest -= value;
  }
  still_needed = rest;
}
fn share_of(share: f32, total: u32) -> u32 {
  let fraction = u32(clamp(share, 0.0, 1.0) * 4294967296.0);
  let product = multiply_high(fraction, total);
  return max(1u, product + select(0u, 1u, fraction * total != 0u));
}
fn top_p_key(lane: u32, top_p: f32) -> u32 {
  var weights = 0.0;
  for (var id = lane; id < params.vocabulary; id += LANES) {
    let logit = logits[filter_state.start + id];
    if (survives(logit)) { weights += weight_of(logit); }
  }
  filter_state.total = workgroup_sum(lane, weights);
  var masses = 0u;
  for (var id = lane; id < params.vocabulary; id += LANES) {
    masses += amount(MASSES, logits[filter_state.start + id]);
  }
  return select_key(lane, MASSES, share_of(top_p, workgroup_count(lane, masses)));
}
fn smallest_survivor(lane: u32) -> u32 {
  var smallest = KEY_POSITIVE_INFINITY;
  for (var id = lane; id < params.vocabulary; id += LANES) {
    let logit = logits[filter_state.start + id];
    if (survives(logit)) { smallest = min(smallest, ordered_key(logit)); }
  }
  return ~workgroup_max_key(lane, ~smallest);
}
fn threshold_of(lane: u32, row: u32) -> f32 {
  let words = row * ROW_WORDS;
  let top_k = rows[words + ROW_TOP_K];
  let top_p = bitcast<f32>(rows[words + ROW_TOP_P]);
  filter_state.min_p = bitcast<f32>(rows[words + ROW_MIN_P]);
  filter_state.temperature = bitcast<f32>(rows[words + ROW_TEMPERATURE]);
  var wanted = select(0u, WANTS_MIN_P, filter_state.min_p > 0.0);
  wanted |= select(0u, WANTS_TOP_K, top_k > 0u && top_k < params.vocabulary);
  wanted |= select(0u, WANTS_TOP_P, top_p < 1.0);
  let filters = workgroup_value(lane, select(wanted, 0u, filter_state.temperature == 0.0));
  if (filters == 0u) { return NO_THRESHOLD; }
  var largest = 0u;
  for (var id = lane; id < params.vocabulary; id += LANES) {
    largest = max(largest, largest_key(logits[filter_state.start + id]));
  }
  largest = workgroup_value(lane, workgroup_max_key(lane, largest));
  if (largest >= KEY_POSITIVE_INFINITY) { return NO_THRESHOLD; }
  filter_state.largest = float_of_key(largest);
  if (largest <= ordered_key(MASKED_LOGIT)) { return filter_state.largest; }
  filter_state.smallest_key = 0u;
  if ((filters & WANTS_TOP_K) != 0u) { filter_state.smallest_key = select_key(lane, COUNTS, top_k); }
  if ((filters & WANTS_TOP_P) != 0u) { filter_state.smallest_key = top_p_key(lane, top_p); }
  return float_of_key(smallest_survivor(lane));
}
fn largest_key(logit: f32) -> u32 {
  if (is_finite(logit)) { return ordered_key(logit); }
  return select(KEY_POSITIVE_INFINITY, KEY_NEGATIVE_INFINITY, bitcast<u32>(logit) == 0xff800000u);
}
fn run_sample(sample: u32, lane: u32) {
  let row = samples[sample * SAMPLE_WORDS + SAMPLE_ROW];
  let open = row != NONE && samples[sample * SAMPLE_WORDS + SAMPLE_TARGET] == NONE;
  filter_state.start = sample * params.vocabulary;
  var threshold = NO_THRESHOLD;
  if (workgroup_value(lane, u32(open)) != 0u) { threshold = threshold_of(lane, row); }
  if (lane == 0u) { thresholds[sample] = threshold; }
}
`,
  },
  'gated_activation': {
    uses: ["sizes","elements","activation"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<f32>"},{"index":1,"name":"out","access":"read_write","type":"array<f32>"},{"index":2,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"rows","type":"u32"},{"name":"width","type":"u32"},{"name":"activation","type":"u32"}],
    source: `struct Params {
  rows: u32,
  width: u32,
  activation: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;
fn element_count() -> u32 { return resolve_size(params.rows) * params.width; }
fn run_element(index: u32) {
  let gate = (index / params.width) * 2u * params.width + index % params.width;
  out[index] = activate(params.activation, x[gate]) * x[gate + params.width];
}
`,
  },
  'gated_linear/any_depth': {
    uses: ["sizes","gated_output","matrix_element"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<f32>"},{"index":1,"name":"weight","access":"read","type":"array<u32>"},{"index":2,"name":"out","access":"read_write","type":"array<f32>"},{"index":3,"name":"bias","access":"read","type":"array<u32>"},{"index":4,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"lanes":["lanes_one","lanes_subgroup","lanes_workgroup"]},
    params: [{"name":"rows","type":"u32"},{"name":"columns","type":"u32"},{"name":"depth","type":"u32"},{"name":"bias_dtype","type":"u32"},{"name":"activation","type":"u32"},{"name":"weight_dtype","type":"u32"}],
    source: `struct Params {
  rows: u32,
  columns: u32,
  depth: u32,
  bias_dtype: u32,
  activation: u32,
  weight_dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;
const PUBLISHED = 1u;
fn weight_at(row: u32, k: u32) -> f32 {
  return matrix_element(params.weight_dtype, row, k, params.depth);
}
fn run(group: u32, lane: u32) {
  let tiles = (params.columns + 3u) / 4u;
  let row = group / tiles;
  if (row >= resolve_size(params.rows)) { return; }
  let first = (group % tiles) * 4u;
  let gates_at = min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u));
  let ups_at = gates_at + params.columns;
  var gates = vec4f();
  var ups = vec4f();
  for (var k = lane; k < params.depth; k += LANES) {
    let value = x[row * params.depth + k];
    gates += value * vec4f(
      weight_at(gates_at.x, k), weight_at(gates_at.y, k), weight_at(gates_at.z, k), weight_at(gates_at.w, k));
    ups += value * vec4f(weight_at(ups_at.x, k), weight_at(ups_at.y, k), weight_at(ups_at.z, k), weight_at(ups_at.w, k));
  }
  gates = lane_sum4(gates);
  ups = lane_sum4(ups);
  if (lane == 0u) { store_gated(row, first, gates, ups); }
}
`,
  },
  'gated_linear/columns': {
    uses: ["sizes","columns","gated_output"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<vec4f>"},{"index":1,"name":"weight","access":"read","type":"array<WeightWord>"},{"index":2,"name":"out","access":"read_write","type":"array<f32>"},{"index":3,"name":"bias","access":"read","type":"array<u32>"},{"index":4,"name":"norm_weight","access":"read","type":"array<u32>"},{"index":5,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"tile":["columns_row","columns_rows"],"weights":["weights_f32","weights_f16","weights_bf16","weights_q8","weights_q4","weights_q4_zeros"],"input":["input_plain","input_normed"]},
    params: [{"name":"rows","type":"u32"},{"name":"columns","type":"u32"},{"name":"depth","type":"u32"},{"name":"bias_dtype","type":"u32"},{"name":"activation","type":"u32"},{"name":"eps","type":"f32"},{"name":"norm_dtype","type":"u32"}],
    source: `struct Params {
  rows: u32,
  columns: u32,
  depth: u32,
  bias_dtype: u32,
  activation: u32,
  eps: f32,
  norm_dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<u32>;
@group(0) @binding(4) var<storage, read> norm_weight: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;
const PUBLISHED = 1u;
const OUTPUTS = PER_LANE / 2u;
fn weights_of(first: u32) -> vec4u {
  let gates = min(vec2u(first, first + LANES), vec2u(params.columns - 1u));
  let ups = gates + params.columns;
  return vec4u(gates.x, ups.x, gates.y, ups.y);
}
fn store_lane(row: u32, first: u32, sums: vec4f) {
  for (var i = 0u; i < OUTPUTS; i++) {
    let column = first + i * LANES;
    if (column < params.columns) { store_gate(row, column, sums[2u * i], sums[2u * i + 1u]); }
  }
}
`,
  },
  'gated_linear/matvec': {
    uses: ["sizes","gated_output"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<vec4f>"},{"index":1,"name":"weight","access":"read","type":"array<WeightWord>"},{"index":2,"name":"out","access":"read_write","type":"array<f32>"},{"index":3,"name":"bias","access":"read","type":"array<u32>"},{"index":4,"name":"norm_weight","access":"read","type":"array<u32>"},{"index":5,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"lanes":["lanes_one","lanes_subgroup","lanes_workgroup"],"weights":["weights_f32","weights_f16","weights_bf16","weights_q8","weights_q4","weights_q4_zeros"],"input":["input_plain","input_normed"]},
    params: [{"name":"rows","type":"u32"},{"name":"columns","type":"u32"},{"name":"depth","type":"u32"},{"name":"bias_dtype","type":"u32"},{"name":"activation","type":"u32"},{"name":"eps","type":"f32"},{"name":"norm_dtype","type":"u32"}],
    source: `struct Params {
  rows: u32,
  columns: u32,
  depth: u32,
  bias_dtype: u32,
  activation: u32,
  eps: f32,
  norm_dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<u32>;
@group(0) @binding(4) var<storage, read> norm_weight: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;
const PUBLISHED = 1u;
fn run(group: u32, lane: u32) {
  let vectors = params.depth / 4u;
  let tiles = (params.columns + 3u) / 4u;
  let row = group / tiles;
  if (row >= resolve_size(params.rows)) { return; }
  let first = (group % tiles) * 4u;
  let columns = min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u));
  let gates_at = weight_rows(columns);
  let ups_at = weight_rows(columns + params.columns);
  var gates = vec4f();
  var ups = vec4f();
  let start = row * vectors;
  let scale = input_scale(start, lane);
  for (var k = lane; k < vectors; k += LANES) {
    let value = input_vector(start + k, scale, norm_vector(k));
    let gate_tile = mat4x4f(
      load_weight(gates_at.x, k), load_weight(gates_at.y, k),
      load_weight(gates_at.z, k), load_weight(gates_at.w, k));
    let up_tile = mat4x4f(
      load_weight(ups_at.x, k), load_weight(ups_at.y, k),
      load_weight(ups_at.z, k), load_weight(ups_at.w, k));
    gates += value * gate_tile;
    ups += value * up_tile;
  }
  gates = lane_sum4(gates * weight_scales(gates_at));
  ups = lane_sum4(ups * weight_scales(ups_at));
  if (lane == 0u) { store_gated(row, first, gates, ups); }
}
`,
  },
  'gated_linear/packed': {
    uses: ["sizes","packed","gated_output"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<vec4f>"},{"index":1,"name":"weight","access":"read","type":"array<WeightWord>"},{"index":2,"name":"out","access":"read_write","type":"array<f32>"},{"index":3,"name":"bias","access":"read","type":"array<u32>"},{"index":4,"name":"norm_weight","access":"read","type":"array<u32>"},{"index":5,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"lanes":["lanes_subgroup","lanes_workgroup"],"weights":["weights_q8","weights_q4","weights_q4_zeros"],"input":["input_plain","input_normed"]},
    params: [{"name":"rows","type":"u32"},{"name":"columns","type":"u32"},{"name":"depth","type":"u32"},{"name":"bias_dtype","type":"u32"},{"name":"activation","type":"u32"},{"name":"eps","type":"f32"},{"name":"norm_dtype","type":"u32"}],
    source: `struct Params {
  rows: u32,
  columns: u32,
  depth: u32,
  bias_dtype: u32,
  activation: u32,
  eps: f32,
  norm_dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<u32>;
@group(0) @binding(4) var<storage, read> norm_weight: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;
const OUTPUTS = 4u;
fn weights_of(first: u32) -> array<vec4u, 2> {
  let gates = min(first + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u));
  return array<vec4u, 2>(gates, gates + params.columns);
}
fn store_tile(row: u32, first: u32, low: vec4f, high: vec4f) {
  store_gated(row, first, low, high);
}
`,
  },
  'gated_linear/tile_4': {
    uses: ["sizes","gated_output"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<vec4f>"},{"index":1,"name":"weight","access":"read","type":"array<WeightWord>"},{"index":2,"name":"out","access":"read_write","type":"array<f32>"},{"index":3,"name":"bias","access":"read","type":"array<u32>"},{"index":4,"name":"norm_weight","access":"read","type":"array<u32>"},{"index":5,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"lanes":["lanes_one","lanes_subgroup","lanes_workgroup"],"weights":["weights_f32","weights_f16","weights_bf16","weights_q8","weights_q4","weights_q4_zeros"],"input":["input_plain","input_normed"]},
    params: [{"name":"rows","type":"u32"},{"name":"columns","type":"u32"},{"name":"depth","type":"u32"},{"name":"bias_dtype","type":"u32"},{"name":"activation","type":"u32"},{"name":"eps","type":"f32"},{"name":"norm_dtype","type":"u32"}],
    source: `struct Params {
  rows: u32,
  columns: u32,
  depth: u32,
  bias_dtype: u32,
  activation: u32,
  eps: f32,
  norm_dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<u32>;
@group(0) @binding(4) var<storage, read> norm_weight: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;
const PUBLISHED = 1u;
fn run(group: u32, lane: u32) {
  let rows = resolve_size(params.rows);
  let vectors = params.depth / 4u;
  let tiles = (params.columns + 3u) / 4u;
  let row = (group / tiles) * 4u;
  if (row >= rows) { return; }
  let first = (group % tiles) * 4u;
  let columns = min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u));
  let gates_at = weight_rows(columns);
  let ups_at = weight_rows(columns + params.columns);
  let rows_at = min(vec4u(row) + vec4u(0u, 1u, 2u, 3u), vec4u(rows - 1u)) * vectors;
  var gates0 = vec4f();
  var gates1 = vec4f();
  var gates2 = vec4f();
  var gates3 = vec4f();
  var ups0 = vec4f();
  var ups1 = vec4f();
  var ups2 = vec4f();
  var ups3 = vec4f();
  let scale0 = input_scale(rows_at.x, lane);
  let scale1 = input_scale(rows_at.y, lane);
  let scale2 = input_scale(rows_at.z, lane);
  let scale3 = input_scale(rows_at.w, lane);
  for (var k = lane; k < vectors; k += LANES) {
    let norm = norm_vector(k);
    let gate_tile = mat4x4f(
      load_weight(gates_at.x, k), load_weight(gates_at.y, k),
      load_weight(gates_at.z, k), load_weight(gates_at.w, k));
    let up_tile = mat4x4f(
      load_weight(ups_at.x, k), load_weight(ups_at.y, k),
      load_weight(ups_at.z, k), load_weight(ups_at.w, k));
    let row0 = input_vector(rows_at.x + k, scale0, norm);
    let row1 = input_vector(rows_at.y + k, scale1, norm);
    let row2 = input_vector(rows_at.z + k, scale2, norm);
    let row3 = input_vector(rows_at.w + k, scale3, norm);
    gates0 += row0 * gate_tile;
    ups0 += row0 * up_tile;
    gates1 += row1 * gate_tile;
    ups1 += row1 * up_tile;
    gates2 += row2 * gate_tile;
    ups2 += row2 * up_tile;
    gates3 += row3 * gate_tile;
    ups3 += row3 * up_tile;
  }
  let gate_scales = weight_scales(gates_at);
  let up_scales = weight_scales(ups_at);
  var gates = array<vec4f, 4>(gates0, gates1, gates2, gates3);
  var ups = array<vec4f, 4>(ups0, ups1, ups2, ups3);
  for (var i = 0u; i < 4u; i++) {
    let gate = lane_sum4(gates[i] * gate_scales);
    let up = lane_sum4(ups[i] * up_scales);
    if (lane == i % LANES && row + i < rows) { store_gated(row + i, first, gate, up); }
  }
}
`,
  },
  'gather_rows': {
    uses: ["sizes","elements"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<f32>"},{"index":1,"name":"samples","access":"read_write","type":"array<u32>"},{"index":2,"name":"out","access":"read_write","type":"array<f32>"},{"index":3,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"samples","type":"u32"},{"name":"width","type":"u32"}],
    source: `struct Params {
  samples: u32,
  width: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> samples: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;
fn element_count() -> u32 { return resolve_size(params.samples) * params.width; }
fn run_element(index: u32) {
  let token = samples[(index / params.width) * SAMPLE_WORDS + SAMPLE_TOKEN];
  out[index] = x[token * params.width + index % params.width];
}
`,
  },
  'grouped_linear/gated': {
    uses: ["sizes","activation"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<vec4f>"},{"index":1,"name":"experts","access":"read_write","type":"array<u32>"},{"index":2,"name":"weight","access":"read","type":"array<WeightWord>"},{"index":3,"name":"out","access":"read_write","type":"array<f32>"},{"index":4,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"lanes":["lanes_one","lanes_subgroup","lanes_workgroup"],"weights":["weights_f32","weights_f16","weights_bf16","weights_q8","weights_q4","weights_q4_zeros"]},
    params: [{"name":"rows","type":"u32"},{"name":"chosen","type":"u32"},{"name":"columns","type":"u32"},{"name":"depth","type":"u32"},{"name":"first_expert","type":"u32"},{"name":"count","type":"u32"},{"name":"activation","type":"u32"}],
    source: `struct Params {
  rows: u32,
  chosen: u32,
  columns: u32,
  depth: u32,
  first_expert: u32,
  count: u32,
  activation: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> experts: array<u32>;
@group(0) @binding(2) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;
const PUBLISHED = 1u;
fn run(group: u32, lane: u32) {
  let vectors = params.depth / 4u;
  let tiles = (params.columns + 3u) / 4u;
  let block = group / tiles;
  let row = block / params.chosen;
  if (row >= resolve_size(params.rows)) { return; }
  let expert = lane_uniform(experts[block] - params.first_expert);
  if (expert >= params.count) { return; }
  let first = (group % tiles) * 4u;
  let columns = min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u)) + expert * 2u * params.columns;
  let gates_at = weight_rows(columns);
  let ups_at = weight_rows(columns + params.columns);
  var gates = vec4f();
  var ups = vec4f();
  for (var k = lane; k < vectors; k += LANES) {
    let value = x[row * vectors + k];
    gates += value * mat4x4f(
      load_weight(gates_at.x, k), load_weight(gates_at.y, k),
      load_weight(gates_at.z, k), load_weight(gates_at.w, k));
    ups += value * mat4x4f(
      load_weight(ups_at.x, k), load_weight(ups_at.y, k),
      load_weight(ups_at.z, k), load_weight(ups_at.w, k));
  }
  gates = lane_sum4(gates * weight_scales(gates_at));
  ups = lane_sum4(ups * weight_scales(ups_at));
  if (lane != 0u) { return; }
  for (var i = 0u; i < min(4u, params.columns - first); i++) {
    out[block * params.columns + first + i] = activate(params.activation, gates[i]) * ups[i];
  }
}
`,
  },
  'grouped_linear/summed': {
    uses: ["sizes"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<vec4f>"},{"index":1,"name":"experts","access":"read_write","type":"array<u32>"},{"index":2,"name":"weight","access":"read","type":"array<WeightWord>"},{"index":3,"name":"shares","access":"read_write","type":"array<f32>"},{"index":4,"name":"residual","access":"read_write","type":"array<f32>"},{"index":5,"name":"out","access":"read_write","type":"array<f32>"},{"index":6,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"lanes":["lanes_one","lanes_subgroup","lanes_workgroup"],"weights":["weights_f32","weights_f16","weights_bf16","weights_q8","weights_q4","weights_q4_zeros"]},
    params: [{"name":"rows","type":"u32"},{"name":"chosen","type":"u32"},{"name":"columns","type":"u32"},{"name":"depth","type":"u32"},{"name":"first_expert","type":"u32"},{"name":"count","type":"u32"},{"name":"residual_mode","type":"u32"}],
    source: `struct Params {
  rows: u32,
  chosen: u32,
  columns: u32,
  depth: u32,
  first_expert: u32,
  count: u32,
  residual_mode: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> experts: array<u32>;
@group(0) @binding(2) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(3) var<storage, read_write> shares: array<f32>;
@group(0) @binding(4) var<storage, read_write> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;
const PUBLISHED = 1u;
const RESIDUAL_READ = 1u;
const RESIDUAL_IN_OUT = 2u;
fn run(group: u32, lane: u32) {
  let vectors = params.depth / 4u;
  let tiles = (params.columns + 3u) / 4u;
  let row = group / tiles;
  if (row >= resolve_size(params.rows)) { return; }
  let first = (group % tiles) * 4u;
  let columns = min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u));
  var total = vec4f();
  for (var j = 0u; j < params.chosen; j++) {
    let block = row * params.chosen + j;
    let expert = lane_uniform(experts[block] - params.first_expert);
    if (expert >= params.count) { continue; }
    let rows_at = weight_rows(columns + expert * params.columns);
    var sums = vec4f();
    for (var k = lane; k < vectors; k += LANES) {
      sums += x[block * vectors + k] * mat4x4f(
        load_weight(rows_at.x, k), load_weight(rows_at.y, k),
        load_weight(rows_at.z, k), load_weight(rows_at.w, k));
    }
    total += shares[block] * lane_sum4(sums * weight_scales(rows_at));
  }
  if (lane != 0u) { return; }
  for (var i = 0u; i < min(4u, params.columns - first); i++) {
    let at = row * params.columns + first + i;
    var value = total[i];
    switch (params.residual_mode) {
      case RESIDUAL_READ: { value += residual[at]; }
      case RESIDUAL_IN_OUT: { value += out[at]; }
      default: {}
    }
    out[at] = value;
  }
}
`,
  },
  'kv_write/plain': {
    uses: ["sizes","elements","paged","cache_word"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"qkv","access":"read_write","type":"array<f32>"},{"index":1,"name":"slot_mapping","access":"read_write","type":"array<u32>"},{"index":2,"name":"k_cache","access":"read_write","type":"array<u32>"},{"index":3,"name":"v_cache","access":"read_write","type":"array<u32>"},{"index":4,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"tokens","type":"u32"},{"name":"kv_heads","type":"u32"},{"name":"head_words","type":"u32"},{"name":"word_elements","type":"u32"},{"name":"block_size","type":"u32"},{"name":"key_start","type":"u32"},{"name":"stride","type":"u32"}],
    source: `struct Params {
  tokens: u32,
  kv_heads: u32,
  head_words: u32,
  word_elements: u32,
  block_size: u32,
  key_start: u32,
  stride: u32,
}
@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> slot_mapping: array<u32>;
@group(0) @binding(2) var<storage, read_write> k_cache: array<u32>;
@group(0) @binding(3) var<storage, read_write> v_cache: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;
fn element_count() -> u32 { return resolve_size(params.tokens) * params.kv_heads * params.head_words; }
fn run_element(index: u32) {
  let word = index % params.head_words;
  let head = (index / params.head_words) % params.kv_heads;
  let token = index / (params.head_words * params.kv_heads);
  let slot = slot_mapping[token];
  if (slot == NONE) { return; }
  let head_dim = params.head_words * params.word_elements;
  let key = token * params.stride + params.key_start + head * head_dim + word * params.word_elements;
  let row = cache_row(slot / params.block_size, head, slot % params.block_size, params.kv_heads, params.block_size);
  let at = row * params.head_words + word;
  k_cache[at] = cache_word(key);
  v_cache[at] = cache_word(key + params.kv_heads * head_dim);
}
`,
  },
  'kv_write/scaled': {
    uses: ["sizes","paged","e4m3"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"qkv","access":"read_write","type":"array<f32>"},{"index":1,"name":"slot_mapping","access":"read_write","type":"array<u32>"},{"index":2,"name":"k_cache","access":"read_write","type":"array<u32>"},{"index":3,"name":"v_cache","access":"read_write","type":"array<u32>"},{"index":4,"name":"k_scales","access":"read_write","type":"array<f32>"},{"index":5,"name":"v_scales","access":"read_write","type":"array<f32>"},{"index":6,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"lanes":["lanes_one","lanes_subgroup","lanes_workgroup"]},
    params: [{"name":"tokens","type":"u32"},{"name":"kv_heads","type":"u32"},{"name":"head_words","type":"u32"},{"name":"block_size","type":"u32"},{"name":"key_start","type":"u32"},{"name":"stride","type":"u32"},{"name":"most","type":"f32"},{"name":"is_float","type":"u32"}],
    source: `struct Params {
  tokens: u32,
  kv_heads: u32,
  head_words: u32,
  block_size: u32,
  key_start: u32,
  stride: u32,
  most: f32,
  is_float: u32,
}
@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> slot_mapping: array<u32>;
@group(0) @binding(2) var<storage, read_write> k_cache: array<u32>;
@group(0) @binding(3) var<storage, read_write> v_cache: array<u32>;
@group(0) @binding(4) var<storage, read_write> k_scales: array<f32>;
@group(0) @binding(5) var<storage, read_write> v_scales: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;
const PUBLISHED = 1u;
fn four_of(start: u32, word: u32) -> vec4f {
  let at = start + word * 4u;
  return vec4f(qkv[at], qkv[at + 1u], qkv[at + 2u], qkv[at + 3u]);
}
fn codes_of(values: vec4f) -> u32 {
  let held = clamp(values, vec4f(-params.most), vec4f(params.most));
  if (params.is_float != 0u) { return pack_e4m3(held); }
  return pack4xI8(vec4i(round(held)));
}
fn run(group: u32, lane: u32) {
  let heads = 2u * params.kv_heads;
  if (group >= resolve_size(params.tokens) * heads) { return; }
  let token = group / heads;
  let head = group % heads;
  let start = token * params.stride + params.key_start + head * params.head_words * 4u;
  var largest = 0.0;
  for (var word = lane; word < params.head_words; word += LANES) {
    let values = abs(four_of(start, word));
    largest = max(largest, max(max(values.x, values.y), max(values.z, values.w)));
  }
  let scale = lane_max(largest) / params.most;
  let slot = slot_mapping[token];
  if (slot == NONE) { return; }
  let row =
    cache_row(slot / params.block_size, head % params.kv_heads, slot % params.block_size, params.kv_heads, params.block_size);
  let is_key = head < params.kv_heads;
  if (lane == 0u) {
    if (is_key) { k_scales[row] = scale; } else { v_scales[row] = scale; }
  }
  let divisor = select(1.0, scale, scale > 0.0);
  for (var word = lane; word < params.head_words; word += LANES) {
    let codes = codes_of(four_of(start, word) / divisor);
    let at = row * params.head_words + word;
    if (is_key) { k_cache[at] = codes; } else { v_cache[at] = codes; }
  }
}
`,
  },
  'layer_norm': {
    uses: ["sizes","element"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<f32>"},{"index":1,"name":"out","access":"read_write","type":"array<f32>"},{"index":2,"name":"weight","access":"read","type":"array<u32>"},{"index":3,"name":"bias","access":"read","type":"array<u32>"},{"index":4,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"lanes":["lanes_one","lanes_subgroup","lanes_workgroup"]},
    params: [{"name":"rows","type":"u32"},{"name":"width","type":"u32"},{"name":"eps","type":"f32"},{"name":"weight_dtype","type":"u32"},{"name":"has_bias","type":"u32"}],
    source: `struct Params {
  rows: u32,
  width: u32,
  eps: f32,
  weight_dtype: u32,
  has_bias: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<u32>;
@group(0) @binding(3) var<storage, read> bias: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;
const PUBLISHED = 1u;
fn run(group: u32, lane: u32) {
  if (group >= resolve_size(params.rows)) { return; }
  let start = group * params.width;
  var sum = 0.0;
  for (var column = lane; column < params.width; column += LANES) { sum += x[start + column]; }
  let mean = lane_sum(sum) / f32(params.width);
  var squares = 0.0;
  for (var column = lane; column < params.width; column += LANES) {
    let centred = x[start + column] - mean;
    squares += centred * centred;
  }
  let scale = 1.0 / sqrt(lane_sum(squares) / f32(params.width) + params.eps);
  for (var column = lane; column < params.width; column += LANES) {
    let at = element_word(params.weight_dtype, column);
    var value = (x[start + column] - mean) * scale * element_value(params.weight_dtype, weight[at], column);
    if (params.has_bias != 0u) { value += element_value(params.weight_dtype, bias[at], column); }
    out[start + column] = value;
  }
}
`,
  },
  'linear/any_depth': {
    uses: ["sizes","linear_output","matrix_element"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<f32>"},{"index":1,"name":"weight","access":"read","type":"array<u32>"},{"index":2,"name":"out","access":"read_write","type":"array<f32>"},{"index":3,"name":"residual","access":"read_write","type":"array<f32>"},{"index":4,"name":"bias","access":"read","type":"array<u32>"},{"index":5,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"lanes":["lanes_one","lanes_subgroup","lanes_workgroup"]},
    params: [{"name":"rows","type":"u32"},{"name":"columns","type":"u32"},{"name":"depth","type":"u32"},{"name":"width","type":"u32"},{"name":"out_column","type":"u32"},{"name":"bias_dtype","type":"u32"},{"name":"activation","type":"u32"},{"name":"residual_mode","type":"u32"},{"name":"weight_dtype","type":"u32"}],
    source: `struct Params {
  rows: u32,
  columns: u32,
  depth: u32,
  width: u32,
  out_column: u32,
  bias_dtype: u32,
  activation: u32,
  residual_mode: u32,
  weight_dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> residual: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;
const PUBLISHED = 1u;
fn weight_at(column: u32, k: u32) -> f32 {
  return matrix_element(params.weight_dtype, min(column, params.columns - 1u), k, params.depth);
}
fn run(group: u32, lane: u32) {
  let tiles = (params.columns + 3u) / 4u;
  let row = group / tiles;
  if (row >= resolve_size(params.rows)) { return; }
  let first = (group % tiles) * 4u;
  var sums = vec4f();
  for (var k = lane; k < params.depth; k += LANES) {
    let column = vec4f(weight_at(first, k), weight_at(first + 1u, k), weight_at(first + 2u, k), weight_at(first + 3u, k));
    sums += x[row * params.depth + k] * column;
  }
  sums = lane_sum4(sums);
  if (lane == 0u) { store_columns(row, first, sums); }
}
`,
  },
  'linear/columns': {
    uses: ["sizes","columns","linear_output"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<vec4f>"},{"index":1,"name":"weight","access":"read","type":"array<WeightWord>"},{"index":2,"name":"out","access":"read_write","type":"array<f32>"},{"index":3,"name":"residual","access":"read_write","type":"array<f32>"},{"index":4,"name":"bias","access":"read","type":"array<u32>"},{"index":5,"name":"norm_weight","access":"read","type":"array<u32>"},{"index":6,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"tile":["columns_row","columns_rows"],"weights":["weights_f32","weights_f16","weights_bf16","weights_q8","weights_q4","weights_q4_zeros"],"input":["input_plain","input_normed"]},
    params: [{"name":"rows","type":"u32"},{"name":"columns","type":"u32"},{"name":"depth","type":"u32"},{"name":"width","type":"u32"},{"name":"out_column","type":"u32"},{"name":"bias_dtype","type":"u32"},{"name":"activation","type":"u32"},{"name":"residual_mode","type":"u32"},{"name":"eps","type":"f32"},{"name":"norm_dtype","type":"u32"}],
    source: `struct Params {
  rows: u32,
  columns: u32,
  depth: u32,
  width: u32,
  out_column: u32,
  bias_dtype: u32,
  activation: u32,
  residual_mode: u32,
  eps: f32,
  norm_dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> residual: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<u32>;
@group(0) @binding(5) var<storage, read> norm_weight: array<u32>;
@group(0) @binding(6) var<uniform> params: Params;
const PUBLISHED = 1u;
const OUTPUTS = PER_LANE;
fn weights_of(first: u32) -> vec4u {
  return min(vec4u(first) + LANES * vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u));
}
fn store_lane(row: u32, first: u32, sums: vec4f) {
  for (var i = 0u; i < OUTPUTS; i++) {
    let column = first + i * LANES;
    if (column < params.columns) { store_column(row, column, sums[i]); }
  }
}
`,
  },
  'linear/matvec': {
    uses: ["sizes","linear_output"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<vec4f>"},{"index":1,"name":"weight","access":"read","type":"array<WeightWord>"},{"index":2,"name":"out","access":"read_write","type":"array<f32>"},{"index":3,"name":"residual","access":"read_write","type":"array<f32>"},{"index":4,"name":"bias","access":"read","type":"array<u32>"},{"index":5,"name":"norm_weight","access":"read","type":"array<u32>"},{"index":6,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"lanes":["lanes_one","lanes_subgroup","lanes_workgroup"],"weights":["weights_f32","weights_f16","weights_bf16","weights_q8","weights_q4","weights_q4_zeros"],"input":["input_plain","input_normed"]},
    params: [{"name":"rows","type":"u32"},{"name":"columns","type":"u32"},{"name":"depth","type":"u32"},{"name":"width","type":"u32"},{"name":"out_column","type":"u32"},{"name":"bias_dtype","type":"u32"},{"name":"activation","type":"u32"},{"name":"residual_mode","type":"u32"},{"name":"eps","type":"f32"},{"name":"norm_dtype","type":"u32"}],
    source: `struct Params {
  rows: u32,
  columns: u32,
  depth: u32,
  width: u32,
  out_column: u32,
  bias_dtype: u32,
  activation: u32,
  residual_mode: u32,
  eps: f32,
  norm_dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> residual: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<u32>;
@group(0) @binding(5) var<storage, read> norm_weight: array<u32>;
@group(0) @binding(6) var<uniform> params: Params;
const PUBLISHED = 1u;
fn run(group: u32, lane: u32) {
  let vectors = params.depth / 4u;
  let tiles = (params.columns + 7u) / 8u;
  let row = group / tiles;
  if (row >= resolve_size(params.rows)) { return; }
  let first = (group % tiles) * 8u;
  let low = weight_rows(min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u)));
  let high = weight_rows(min(vec4u(first) + vec4u(4u, 5u, 6u, 7u), vec4u(params.columns - 1u)));
  var low_sums = vec4f();
  var high_sums = vec4f();
  let start = row * vectors;
  let scale = input_scale(start, lane);
  for (var k = lane; k < vectors; k += LANES) {
    let value = input_vector(start + k, scale, norm_vector(k));
    low_sums += value * mat4x4f(
      load_weight(low.x, k), load_weight(low.y, k),
      load_weight(low.z, k), load_weight(low.w, k));
    high_sums += value * mat4x4f(
      load_weight(high.x, k), load_weight(high.y, k),
      load_weight(high.z, k), load_weight(high.w, k));
  }
  var sums = array<vec4f, 2>(low_sums * weight_scales(low), high_sums * weight_scales(high));
  for (var i = 0u; i < 2u; i++) {
    let total = lane_sum4(sums[i]);
    if (lane == i % LANES && first + 4u * i < params.columns) { store_columns(row, first + 4u * i, total); }
  }
}
`,
  },
  'linear/packed': {
    uses: ["sizes","packed","linear_output"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<vec4f>"},{"index":1,"name":"weight","access":"read","type":"array<WeightWord>"},{"index":2,"name":"out","access":"read_write","type":"array<f32>"},{"index":3,"name":"residual","access":"read_write","type":"array<f32>"},{"index":4,"name":"bias","access":"read","type":"array<u32>"},{"index":5,"name":"norm_weight","access":"read","type":"array<u32>"},{"index":6,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"lanes":["lanes_subgroup","lanes_workgroup"],"weights":["weights_q8","weights_q4","weights_q4_zeros"],"input":["input_plain","input_normed"]},
    params: [{"name":"rows","type":"u32"},{"name":"columns","type":"u32"},{"name":"depth","type":"u32"},{"name":"width","type":"u32"},{"name":"out_column","type":"u32"},{"name":"bias_dtype","type":"u32"},{"name":"activation","type":"u32"},{"name":"residual_mode","type":"u32"},{"name":"eps","type":"f32"},{"name":"norm_dtype","type":"u32"}],
    source: `struct Params {
  rows: u32,
  columns: u32,
  depth: u32,
  width: u32,
  out_column: u32,
  bias_dtype: u32,
  activation: u32,
  residual_mode: u32,
  eps: f32,
  norm_dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> residual: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<u32>;
@group(0) @binding(5) var<storage, read> norm_weight: array<u32>;
@group(0) @binding(6) var<uniform> params: Params;
const OUTPUTS = 8u;
fn weights_of(first: u32) -> array<vec4u, 2> {
  let last = vec4u(params.columns - 1u);
  return array<vec4u, 2>(min(first + vec4u(0u, 1u, 2u, 3u), last), min(first + vec4u(4u, 5u, 6u, 7u), last));
}
fn store_tile(row: u32, first: u32, low: vec4f, high: vec4f) {
  store_columns(row, first, low);
  if (first + 4u < params.columns) { store_columns(row, first + 4u, high); }
}
`,
  },
  'linear/tile_4': {
    uses: ["sizes","linear_output"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<vec4f>"},{"index":1,"name":"weight","access":"read","type":"array<WeightWord>"},{"index":2,"name":"out","access":"read_write","type":"array<f32>"},{"index":3,"name":"residual","access":"read_write","type":"array<f32>"},{"index":4,"name":"bias","access":"read","type":"array<u32>"},{"index":5,"name":"norm_weight","access":"read","type":"array<u32>"},{"index":6,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"lanes":["lanes_one","lanes_subgroup","lanes_workgroup"],"weights":["weights_f32","weights_f16","weights_bf16","weights_q8","weights_q4","weights_q4_zeros"],"input":["input_plain","input_normed"]},
    params: [{"name":"rows","type":"u32"},{"name":"columns","type":"u32"},{"name":"depth","type":"u32"},{"name":"width","type":"u32"},{"name":"out_column","type":"u32"},{"name":"bias_dtype","type":"u32"},{"name":"activation","type":"u32"},{"name":"residual_mode","type":"u32"},{"name":"eps","type":"f32"},{"name":"norm_dtype","type":"u32"}],
    source: `struct Params {
  rows: u32,
  columns: u32,
  depth: u32,
  width: u32,
  out_column: u32,
  bias_dtype: u32,
  activation: u32,
  residual_mode: u32,
  eps: f32,
  norm_dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> residual: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<u32>;
@group(0) @binding(5) var<storage, read> norm_weight: array<u32>;
@group(0) @binding(6) var<uniform> params: Params;
const PUBLISHED = 1u;
fn run(group: u32, lane: u32) {
  let rows = resolve_size(params.rows);
  let vectors = params.depth / 4u;
  let tiles = (params.columns + 3u) / 4u;
  let row = (group / tiles) * 4u;
  if (row >= rows) { return; }
  let first = (group % tiles) * 4u;
  let weights_at = weight_rows(min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u)));
  let rows_at = min(vec4u(row) + vec4u(0u, 1u, 2u, 3u), vec4u(rows - 1u)) * vectors;
  var sums0 = vec4f();
  var sums1 = vec4f();
  var sums2 = vec4f();
  var sums3 = vec4f();
  let scale0 = input_scale(rows_at.x, lane);
  let scale1 = input_scale(rows_at.y, lane);
  let scale2 = input_scale(rows_at.z, lane);
  let scale3 = input_scale(rows_at.w, lane);
  for (var k = lane; k < vectors; k += LANES) {
    let norm = norm_vector(k);
    let tile = mat4x4f(
      load_weight(weights_at.x, k), load_weight(weights_at.y, k),
      load_weight(weights_at.z, k), load_weight(weights_at.w, k));
    sums0 += input_vector(rows_at.x + k, scale0, norm) * tile;
    sums1 += input_vector(rows_at.y + k, scale1, norm) * tile;
    sums2 += input_vector(rows_at.z + k, scale2, norm) * tile;
    sums3 += input_vector(rows_at.w + k, scale3, norm) * tile;
  }
  let scales = weight_scales(weights_at);
  var sums = array<vec4f, 4>(sums0, sums1, sums2, sums3);
  for (var i = 0u; i < 4u; i++) {
    let total = lane_sum4(sums[i] * scales);
    if (lane == i % LANES && row + i < rows) { store_columns(row + i, first, total); }
  }
}
`,
  },
  'linear/tile_8': {
    uses: ["sizes","linear_output"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<vec4f>"},{"index":1,"name":"weight","access":"read","type":"array<WeightWord>"},{"index":2,"name":"out","access":"read_write","type":"array<f32>"},{"index":3,"name":"residual","access":"read_write","type":"array<f32>"},{"index":4,"name":"bias","access":"read","type":"array<u32>"},{"index":5,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"lanes":["lanes_one","lanes_subgroup","lanes_workgroup"],"weights":["weights_f32","weights_f16","weights_bf16","weights_q8","weights_q4","weights_q4_zeros"],"input":["input_plain"]},
    params: [{"name":"rows","type":"u32"},{"name":"columns","type":"u32"},{"name":"depth","type":"u32"},{"name":"width","type":"u32"},{"name":"out_column","type":"u32"},{"name":"bias_dtype","type":"u32"},{"name":"activation","type":"u32"},{"name":"residual_mode","type":"u32"}],
    source: `struct Params {
  rows: u32,
  columns: u32,
  depth: u32,
  width: u32,
  out_column: u32,
  bias_dtype: u32,
  activation: u32,
  residual_mode: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> residual: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;
const PUBLISHED = 1u;
fn run(group: u32, lane: u32) {
  let rows = resolve_size(params.rows);
  let vectors = params.depth / 4u;
  let tiles = (params.columns + 3u) / 4u;
  let row = (group / tiles) * 8u;
  if (row >= rows) { return; }
  let first = (group % tiles) * 4u;
  let weights_at = weight_rows(min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u)));
  let low = min(vec4u(row) + vec4u(0u, 1u, 2u, 3u), vec4u(rows - 1u)) * vectors;
  let high = min(vec4u(row) + vec4u(4u, 5u, 6u, 7u), vec4u(rows - 1u)) * vectors;
  var sums0 = vec4f();
  var sums1 = vec4f();
  var sums2 = vec4f();
  var sums3 = vec4f();
  var sums4 = vec4f();
  var sums5 = vec4f();
  var sums6 = vec4f();
  var sums7 = vec4f();
  for (var k = lane; k < vectors; k += LANES) {
    let tile = mat4x4f(
      load_weight(weights_at.x, k), load_weight(weights_at.y, k),
      load_weight(weights_at.z, k), load_weight(weights_at.w, k));
    sums0 += x[low.x + k] * tile;
    sums1 += x[low.y + k] * tile;
    sums2 += x[low.z + k] * tile;
    sums3 += x[low.w + k] * tile;
    sums4 += x[high.x + k] * tile;
    sums5 += x[high.y + k] * tile;
    sums6 += x[high.z + k] * tile;
    sums7 += x[high.w + k] * tile;
  }
  let scales = weight_scales(weights_at);
  var sums = array<vec4f, 8>(sums0, sums1, sums2, sums3, sums4, sums5, sums6, sums7);
  for (var i = 0u; i < 8u; i++) {
    let total = lane_sum4(sums[i] * scales);
    if (lane == i % LANES && row + i < rows) { store_columns(row + i, first, total); }
  }
}
`,
  },
  'log_probs': {
    uses: ["sizes","vocabulary","float_bits"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"logits","access":"read_write","type":"array<f32>"},{"index":1,"name":"samples","access":"read_write","type":"array<u32>"},{"index":2,"name":"sampled","access":"read_write","type":"array<u32>"},{"index":3,"name":"logprobs","access":"read_write","type":"array<f32>"},{"index":4,"name":"logprob_ids","access":"read_write","type":"array<u32>"},{"index":5,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"samples","type":"u32"},{"name":"vocabulary","type":"u32"},{"name":"top_n","type":"u32"}],
    source: `struct Params {
  samples: u32,
  vocabulary: u32,
  top_n: u32,
}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> samples: array<u32>;
@group(0) @binding(2) var<storage, read_write> sampled: array<u32>;
@group(0) @binding(3) var<storage, read_write> logprobs: array<f32>;
@group(0) @binding(4) var<storage, read_write> logprob_ids: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;
fn sample_count() -> u32 { return resolve_size(params.samples); }
fn best_after(lane: u32, start: u32, last: Candidate) -> Candidate {
  var best = Candidate(0u, NONE);
  for (var id = lane; id < params.vocabulary; id += LANES) {
    let key = ordered_key(logits[start + id]);
    if (key < last.key || (key == last.key && id > last.id)) { best = better(best, Candidate(key, id)); }
  }
  return workgroup_best(lane, best);
}
const RUN = 64u * LANES;
fn scan_row(lane: u32, start: u32, largest: f32, chosen: f32) -> vec2f {
  var sum = 0.0;
  var above = 0u;
  for (var first = 0u; first < params.vocabulary; first += RUN) {
    var part = 0.0;
    for (var id = first + lane; id < min(first + RUN, params.vocabulary); id += LANES) {
      let logit = logits[start + id];
      part += exp(max(logit - largest, -100.0));
      above += select(0u, 1u, logit > chosen);
    }
    sum += part;
  }
  let total = workgroup_sum(lane, sum);
  return vec2f(largest + log(total), f32(workgroup_count(lane, above)));
}
fn run_sample(sample: u32, lane: u32) {
  let values = sample * (1u + params.top_n);
  let ids = sample * (2u + params.top_n);
  if (workgroup_value(lane, samples[sample * SAMPLE_WORDS + SAMPLE_ROW]) == NONE) {
    for (var i = lane; i < 2u + params.top_n; i += LANES) {
      if (i < 1u + params.top_n) { logprobs[values + i] = 0.0; }
      logprob_ids[ids + i] = 0u;
    }
    return;
  }
  let start = sample * params.vocabulary;
  let chosen_id = workgroup_value(lane, sampled[2u * sample]);
  let chosen = logits[start + chosen_id];
  var best = best_after(lane, start, Candidate(NONE, NONE));
  let found = scan_row(lane, start, float_of_key(best.key), chosen);
  if (lane == 0u) {
    logprobs[values] = chosen - found.x;
    logprob_ids[ids] = chosen_id;
    logprob_ids[ids + 1u] = 1u + u32(found.y);
  }
  for (var place = 0u; place < params.top_n; place++) {
    if (place > 0u) { best = best_after(lane, start, best); }
    if (lane == 0u) {
      logprobs[values + 1u + place] = float_of_key(best.key) - found.x;
      logprob_ids[ids + 2u + place] = best.id;
    }
  }
}
`,
  },
  'lora_linear/expand': {
    uses: ["sizes","elements","element"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"hidden","access":"read_write","type":"array<f32>"},{"index":1,"name":"adapters","access":"read_write","type":"array<u32>"},{"index":2,"name":"b","access":"read","type":"array<u32>"},{"index":3,"name":"scales","access":"read","type":"array<f32>"},{"index":4,"name":"out","access":"read_write","type":"array<f32>"},{"index":5,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"rows","type":"u32"},{"name":"columns","type":"u32"},{"name":"rank","type":"u32"},{"name":"slices","type":"u32"},{"name":"end_0","type":"u32"},{"name":"end_1","type":"u32"},{"name":"end_2","type":"u32"},{"name":"b_dtype","type":"u32"}],
    source: `struct Params {
  rows: u32,
  columns: u32,
  rank: u32,
  slices: u32,
  end_0: u32,
  end_1: u32,
  end_2: u32,
  b_dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> hidden: array<f32>;
@group(0) @binding(1) var<storage, read_write> adapters: array<u32>;
@group(0) @binding(2) var<storage, read> b: array<u32>;
@group(0) @binding(3) var<storage, read> scales: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;
fn element_count() -> u32 { return resolve_size(params.rows) * params.columns; }
fn run_element(index: u32) {
  let row = index / params.columns;
  let column = index % params.columns;
  let slot = adapters[row];
  if (slot == NONE) { return; }
  let slice = u32(column >= params.end_0) + u32(column >= params.end_1) + u32(column >= params.end_2);
  let hidden_at = (row * params.slices + slice) * params.rank;
  let b_at = (slot * params.columns + column) * params.rank;
  var sum = 0.0;
  for (var r = 0u; r < params.rank; r++) {
    sum += hidden[hidden_at + r] * element_value(params.b_dtype, b[element_word(params.b_dtype, b_at + r)], b_at + r);
  }
  out[index] += scales[slot * params.slices + slice] * sum;
}
`,
  },
  'lora_linear/shrink': {
    uses: ["sizes"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<vec4f>"},{"index":1,"name":"adapters","access":"read_write","type":"array<u32>"},{"index":2,"name":"weight","access":"read","type":"array<WeightWord>"},{"index":3,"name":"hidden","access":"read_write","type":"array<f32>"},{"index":4,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"lanes":["lanes_one","lanes_subgroup","lanes_workgroup"],"weights":["weights_f32","weights_f16","weights_bf16"]},
    params: [{"name":"rows","type":"u32"},{"name":"width","type":"u32"},{"name":"depth","type":"u32"}],
    source: `struct Params {
  rows: u32,
  width: u32,
  depth: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> adapters: array<u32>;
@group(0) @binding(2) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(3) var<storage, read_write> hidden: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;
const PUBLISHED = 1u;
fn run(group: u32, lane: u32) {
  let vectors = params.depth / 4u;
  let tiles = (params.width + 3u) / 4u;
  let row = group / tiles;
  if (row >= resolve_size(params.rows)) { return; }
  let slot = lane_uniform(adapters[row]);
  if (slot == NONE) { return; }
  let first = (group % tiles) * 4u;
  let columns = min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(params.width - 1u)) + slot * params.width;
  let rows_at = weight_rows(columns);
  var sums = vec4f();
  for (var k = lane; k < vectors; k += LANES) {
    sums += x[row * vectors + k] * mat4x4f(
      load_weight(rows_at.x, k), load_weight(rows_at.y, k),
      load_weight(rows_at.z, k), load_weight(rows_at.w, k));
  }
  sums = lane_sum4(sums);
  if (lane != 0u) { return; }
  for (var i = 0u; i < min(4u, params.width - first); i++) {
    hidden[row * params.width + first + i] = sums[i];
  }
}
`,
  },
  'mask_logits': {
    uses: ["sizes","vocabulary"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"logits","access":"read_write","type":"array<f32>"},{"index":1,"name":"samples","access":"read_write","type":"array<u32>"},{"index":2,"name":"rows","access":"read_write","type":"array<u32>"},{"index":3,"name":"masks","access":"read_write","type":"array<u32>"},{"index":4,"name":"out","access":"read_write","type":"array<f32>"},{"index":5,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"samples","type":"u32"},{"name":"vocabulary","type":"u32"},{"name":"words","type":"u32"},{"name":"in_place","type":"u32"}],
    source: `struct Params {
  samples: u32,
  vocabulary: u32,
  words: u32,
  in_place: u32,
}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> samples: array<u32>;
@group(0) @binding(2) var<storage, read_write> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> masks: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;
fn sample_count() -> u32 { return resolve_size(params.samples); }
fn run_sample(sample: u32, lane: u32) {
  let start = sample * params.vocabulary;
  if (params.in_place == 0u) {
    for (var id = lane; id < params.vocabulary; id += LANES) { out[start + id] = logits[start + id]; }
  }
  let record = sample * SAMPLE_WORDS;
  let row = samples[record + SAMPLE_ROW];
  if (row == NONE || samples[record + SAMPLE_TARGET] != NONE) { return; }
  if (rows[row * ROW_WORDS + ROW_MASKED] == 0u) { return; }
  let mask = row * params.words;
  for (var id = lane; id < params.vocabulary; id += LANES) {
    if (((masks[mask + id / 32u] >> (id % 32u)) & 1u) == 0u) { out[start + id] = MASKED_LOGIT; }
  }
}
`,
  },
  'moe_route': {
    uses: ["sizes","elements"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"logits","access":"read_write","type":"array<f32>"},{"index":1,"name":"experts","access":"read_write","type":"array<u32>"},{"index":2,"name":"shares","access":"read_write","type":"array<f32>"},{"index":3,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"rows","type":"u32"},{"name":"experts","type":"u32"},{"name":"chosen","type":"u32"},{"name":"normalize","type":"u32"}],
    source: `struct Params {
  rows: u32,
  experts: u32,
  chosen: u32,
  normalize: u32,
}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> experts: array<u32>;
@group(0) @binding(2) var<storage, read_write> shares: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;
fn element_count() -> u32 { return resolve_size(params.rows); }
fn next_expert(row: u32, last: u32) -> u32 {
  let start = row * params.experts;
  var best = NONE;
  for (var id = 0u; id < params.experts; id++) {
    let value = logits[start + id];
    if (last != NONE) {
      let before = logits[start + last];
      if (value > before || (value == before && id <= last)) { continue; }
    }
    if (best == NONE || value > logits[start + best]) { best = id; }
  }
  return select(best, 0u, best == NONE);
}
fn run_element(row: u32) {
  let start = row * params.experts;
  let to = row * params.chosen;
  var last = NONE;
  for (var j = 0u; j < params.chosen; j++) {
    last = next_expert(row, last);
    experts[to + j] = last;
  }
  let largest = logits[start + experts[to]];
  var total = 0.0;
  if (params.normalize == 0u) {
    for (var id = 0u; id < params.experts; id++) { total += exp(max(logits[start + id] - largest, -80.0)); }
  } else {
    for (var j = 0u; j < params.chosen; j++) { total += exp(max(logits[start + experts[to + j]] - largest, -80.0)); }
  }
  for (var j = 0u; j < params.chosen; j++) {
    shares[to + j] = exp(max(logits[start + experts[to + j]] - largest, -80.0)) / total;
  }
}
`,
  },
  'norm_columns': {
    uses: ["sizes","element"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<f32>"},{"index":1,"name":"weight","access":"read","type":"array<u32>"},{"index":2,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"lanes":["lanes_one","lanes_subgroup","lanes_workgroup"]},
    params: [{"name":"rows","type":"u32"},{"name":"stride","type":"u32"},{"name":"first","type":"u32"},{"name":"width","type":"u32"},{"name":"eps","type":"f32"},{"name":"weight_dtype","type":"u32"}],
    source: `struct Params {
  rows: u32,
  stride: u32,
  first: u32,
  width: u32,
  eps: f32,
  weight_dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;
const PUBLISHED = 1u;
fn run(group: u32, lane: u32) {
  if (group >= resolve_size(params.rows)) { return; }
  let start = group * params.stride + params.first;
  var squares = 0.0;
  for (var column = lane; column < params.width; column += LANES) {
    let value = x[start + column];
    squares += value * value;
  }
  let scale = 1.0 / sqrt(lane_sum(squares) / f32(params.width) + params.eps);
  for (var column = lane; column < params.width; column += LANES) {
    let word = weight[element_word(params.weight_dtype, column)];
    x[start + column] *= scale * element_value(params.weight_dtype, word, column);
  }
}
`,
  },
  'paged_attention/join': {
    uses: ["sizes","elements","attention_parts"],
    enables: [],
    directives: [],
    consts: {"BLOCK_SIZE":16},
    bindings: [{"index":0,"name":"parts","access":"read_write","type":"array<vec4f>"},{"index":1,"name":"sequences","access":"read_write","type":"array<u32>"},{"index":2,"name":"out","access":"read_write","type":"array<vec4f>"},{"index":3,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"sequences","type":"u32"},{"name":"tokens","type":"u32"},{"name":"blocks","type":"u32"},{"name":"heads","type":"u32"},{"name":"window","type":"u32"}],
    source: `struct Params {
  sequences: u32,
  tokens: u32,
  blocks: u32,
  heads: u32,
  window: u32,
}
@group(0) @binding(0) var<storage, read_write> parts: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> sequences: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;
fn element_count() -> u32 {
  return resolve_size(params.tokens) * params.heads * HEAD_VECTORS;
}
fn run_element(index: u32) {
  let d = index % HEAD_VECTORS;
  let row = index / HEAD_VECTORS;
  let context = context_of(row / params.heads);
  if (context == 0u) {
    out[index] = vec4f();
    return;
  }
  let segments = segments_of(resolve_size(params.blocks) * BLOCK_SIZE);
  var joined = Part(LOWEST, 0.0);
  var value = vec4f();
  for (var segment = window_begin(context - 1u) / SEGMENT; segment < segments_of(context); segment++) {
    let at = (row * segments + segment) * PART_VECTORS;
    let of_part = parts[at + HEAD_VECTORS];
    let part = Part(of_part.x, of_part.y);
    let scales = part_scales(joined, part);
    joined = join_parts(joined, part, scales);
    value = join_values(value, parts[at + d], scales);
  }
  out[index] = value / joined.sum;
}
fn context_of(token: u32) -> u32 {
  if (token >= resolve_size(params.sequences)) { return 0u; }
  let record = token * SEQUENCE_WORDS;
  if (sequences[record + SEQUENCE_QUERY_LEN] == 0u) { return 0u; }
  return sequences[record + SEQUENCE_CONTEXT_LEN];
}
`,
  },
  'paged_attention/split': {
    uses: ["sizes","attention"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"qkv","access":"read_write","type":"array<vec4f>"},{"index":1,"name":"k_cache","access":"read","type":"array<KvWord>"},{"index":2,"name":"v_cache","access":"read","type":"array<KvWord>"},{"index":3,"name":"sequences","access":"read_write","type":"array<u32>"},{"index":4,"name":"block_tables","access":"read","type":"array<u32>"},{"index":5,"name":"parts","access":"read_write","type":"array<vec4f>"},{"index":6,"name":"k_scales","access":"read","type":"array<f32>"},{"index":7,"name":"v_scales","access":"read","type":"array<f32>"},{"index":8,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"lanes":["lanes_one","lanes_subgroup","lanes_workgroup"],"kv":["kv_f32","kv_f16","kv_native_f16","kv_i8","kv_f8e4m3"]},
    params: [{"name":"sequences","type":"u32"},{"name":"blocks","type":"u32"},{"name":"heads","type":"u32"},{"name":"kv_heads","type":"u32"},{"name":"max_blocks","type":"u32"},{"name":"scale","type":"f32"},{"name":"window","type":"u32"},{"name":"soft_cap","type":"f32"}],
    source: `struct Params {
  sequences: u32,
  blocks: u32,
  heads: u32,
  kv_heads: u32,
  max_blocks: u32,
  scale: f32,
  window: u32,
  soft_cap: f32,
}
@group(0) @binding(0) var<storage, read_write> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read> k_cache: array<KvWord>;
@group(0) @binding(2) var<storage, read> v_cache: array<KvWord>;
@group(0) @binding(3) var<storage, read_write> sequences: array<u32>;
@group(0) @binding(4) var<storage, read> block_tables: array<u32>;
@group(0) @binding(5) var<storage, read_write> parts: array<vec4f>;
@group(0) @binding(6) var<storage, read> k_scales: array<f32>;
@group(0) @binding(7) var<storage, read> v_scales: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;
fn run(group: u32, lane: u32) {
  let segments = segments_of(resolve_size(params.blocks) * BLOCK_SIZE);
  let head_tiles = params.heads / TILE_HEADS;
  let sequence = group / (segments * head_tiles);
  if (sequence >= resolve_size(params.sequences)) { return; }
  let head = ((group / segments) % head_tiles) * TILE_HEADS;
  let segment = group % segments;
  let record = sequence * SEQUENCE_WORDS;
  let query_start = lane_uniform(sequences[record + SEQUENCE_QUERY_START]);
  let context = lane_uniform(sequences[record + SEQUENCE_CONTEXT_LEN]);
  let row = lane_uniform(sequences[record + SEQUENCE_ROW]);
  if (context == 0u) { return; }
  let tile = Tile(row, query_start, 1u, context - 1u, head, head * params.kv_heads / params.heads);
  if (segment < first_position(tile) / SEGMENT || segment > last_segment(tile)) { return; }
  sum_segment(tile, QUERIES, segment, lane);
  for (var query = 0u; query < QUERIES; query++) {
    let sum = lane_sum(running_sum[query]);
    let part = ((sequence * params.heads + head + query) * segments + segment) * PART_VECTORS;
    for (var v = 0u; v < VECTORS; v++) {
      let d = lane + v * LANES;
      if (d < HEAD_VECTORS) { parts[part + d] = result[query * VECTORS + v]; }
    }
    if (lane == 0u) { parts[part + HEAD_VECTORS] = vec4f(running_max[query], sum, 0.0, 0.0); }
  }
}
`,
  },
  'paged_attention/whole': {
    uses: ["sizes","attention"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"qkv","access":"read_write","type":"array<vec4f>"},{"index":1,"name":"k_cache","access":"read","type":"array<KvWord>"},{"index":2,"name":"v_cache","access":"read","type":"array<KvWord>"},{"index":3,"name":"sequences","access":"read_write","type":"array<u32>"},{"index":4,"name":"block_tables","access":"read","type":"array<u32>"},{"index":5,"name":"out","access":"read_write","type":"array<vec4f>"},{"index":6,"name":"k_scales","access":"read","type":"array<f32>"},{"index":7,"name":"v_scales","access":"read","type":"array<f32>"},{"index":8,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"lanes":["lanes_one","lanes_subgroup","lanes_workgroup"],"kv":["kv_f32","kv_f16","kv_native_f16","kv_i8","kv_f8e4m3"]},
    params: [{"name":"sequences","type":"u32"},{"name":"decode_sequences","type":"u32"},{"name":"query_tokens","type":"u32"},{"name":"tokens","type":"u32"},{"name":"heads","type":"u32"},{"name":"kv_heads","type":"u32"},{"name":"max_blocks","type":"u32"},{"name":"scale","type":"f32"},{"name":"window","type":"u32"},{"name":"soft_cap","type":"f32"}],
    source: `struct Params {
  sequences: u32,
  decode_sequences: u32,
  query_tokens: u32,
  tokens: u32,
  heads: u32,
  kv_heads: u32,
  max_blocks: u32,
  scale: f32,
  window: u32,
  soft_cap: f32,
}
@group(0) @binding(0) var<storage, read_write> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read> k_cache: array<KvWord>;
@group(0) @binding(2) var<storage, read> v_cache: array<KvWord>;
@group(0) @binding(3) var<storage, read_write> sequences: array<u32>;
@group(0) @binding(4) var<storage, read> block_tables: array<u32>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(6) var<storage, read> k_scales: array<f32>;
@group(0) @binding(7) var<storage, read> v_scales: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;
var<private> joined: array<Part, QUERIES>;
fn attend(tile: Tile, queries: u32, lane: u32) {
  let first = first_position(tile) / SEGMENT;
  let last = last_segment(tile);
  for (var segment = first; segment <= last; segment++) {
    sum_segment(tile, queries, segment, lane);
    join_segment(tile, queries, segment == first, segment == last, lane);
  }
}
fn join_segment(tile: Tile, queries: u32, is_first: bool, is_last: bool, lane: u32) {
  for (var query = 0u; query < queries; query++) {
    let part = Part(running_max[query], lane_sum(running_sum[query]));
    if (is_first) { joined[query] = Part(LOWEST, 0.0); }
    let scales = part_scales(joined[query], part);
    joined[query] = join_parts(joined[query], part, scales);
    if (query / TILE_HEADS >= tile.tokens) { continue; }
    for (var v = 0u; v < VECTORS; v++) {
      let d = lane + v * LANES;
      if (d < HEAD_VECTORS) {
        let at = out_vector(tile, query) + d;
        var value = vec4f();
        if (!is_first) { value = out[at]; }
        value = join_values(value, result[query * VECTORS + v], scales);
        if (is_last) { value /= joined[query].sum; }
        out[at] = value;
      }
    }
  }
}
fn out_vector(tile: Tile, query: u32) -> u32 {
  return ((tile.token + query / TILE_HEADS) * params.heads + tile.head + query % TILE_HEADS) * HEAD_VECTORS;
}
fn clear_rows(begin: u32, end: u32, head: u32, lane: u32) {
  for (var token = begin; token < end; token++) {
    let start = (token * params.heads + head) * HEAD_VECTORS;
    for (var d = lane; d < TILE_HEADS * HEAD_VECTORS; d += LANES) { out[start + d] = vec4f(); }
  }
}
fn covered_tokens() -> u32 {
  for (var i = resolve_size(params.sequences); i > 0u; i--) {
    let record = (i - 1u) * SEQUENCE_WORDS;
    let length = sequences[record + SEQUENCE_QUERY_LEN];
    if (length > 0u) { return sequences[record + SEQUENCE_QUERY_START] + length; }
  }
  return 0u;
}
fn run(group: u32, lane: u32) {
  let head_tiles = params.heads / TILE_HEADS;
  let decode_groups = resolve_size(params.decode_sequences) * head_tiles;
  var sequence = group / head_tiles;
  var head_tile = group % head_tiles;
  var first = 0u;
  if (group >= decode_groups) {
    let tiles = (resolve_size(params.query_tokens) + TILE_TOKENS - 1u) / TILE_TOKENS;
    let other = (group - decode_groups) / tiles;
    sequence = resolve_size(params.decode_sequences) + other / head_tiles;
    head_tile = other % head_tiles;
    first = ((group - decode_groups) % tiles) * TILE_TOKENS;
  }
  if (sequence >= resolve_size(params.sequences)) { return; }
  let head = head_tile * TILE_HEADS;
  let record = sequence * SEQUENCE_WORDS;
  let query_start = lane_uniform(sequences[record + SEQUENCE_QUERY_START]);
  let query_length = lane_uniform(sequences[record + SEQUENCE_QUERY_LEN]);
  let context = lane_uniform(sequences[record + SEQUENCE_CONTEXT_LEN]);
  if (sequence + 1u == resolve_size(params.sequences) && first == 0u) {
    clear_rows(covered_tokens(), resolve_size(params.tokens), head, lane);
  }
  if (first >= query_length) { return; }
  let tokens = min(TILE_TOKENS, query_length - first);
  if (context == 0u) {
    clear_rows(query_start + first, query_start + first + tokens, head, lane);
    return;
  }
  let row = lane_uniform(sequences[record + SEQUENCE_ROW]);
  let kv_head = head * params.kv_heads / params.heads;
  let tile = Tile(row, query_start + first, tokens, context - query_length + first, head, kv_head);
  if (TILE_TOKENS > 1u && tokens > 1u) {
    attend(tile, QUERIES, lane);
  } else {
    attend(tile, TILE_HEADS, lane);
  }
}
`,
  },
  'penalties/apply': {
    uses: ["sizes","elements","penalty_row"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"logits","access":"read_write","type":"array<f32>"},{"index":1,"name":"samples","access":"read_write","type":"array<u32>"},{"index":2,"name":"rows","access":"read_write","type":"array<u32>"},{"index":3,"name":"counts","access":"read_write","type":"array<u32>"},{"index":4,"name":"out","access":"read_write","type":"array<f32>"},{"index":5,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"samples","type":"u32"},{"name":"vocabulary","type":"u32"},{"name":"in_place","type":"u32"}],
    source: `struct Params {
  samples: u32,
  vocabulary: u32,
  in_place: u32,
}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> samples: array<u32>;
@group(0) @binding(2) var<storage, read_write> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> counts: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;
fn element_count() -> u32 { return resolve_size(params.samples) * params.vocabulary; }
fn run_element(index: u32) {
  if (params.in_place == 0u) { out[index] = logits[index]; }
  let sample = index / params.vocabulary;
  if (!has_penalties(sample)) { return; }
  let count = counts[index];
  if (count == 0u) { return; }
  counts[index] = 0u;
  let words = samples[sample * SAMPLE_WORDS + SAMPLE_ROW] * ROW_WORDS;
  let repetition = bitcast<f32>(rows[words + ROW_REPETITION_PENALTY]);
  var logit = out[index];
  if (logit <= MASKED_LOGIT) { return; }
  if (logit <= MASKED_LOGIT) { return; }
  logit = select(logit * repetition, logit / repetition, logit > 0.0);
  let in_output = count & ~COUNT_IN_PROMPT;
  logit -= bitcast<f32>(rows[words + ROW_FREQUENCY_PENALTY]) * f32(in_output);
  if (in_output > 0u) { logit -= bitcast<f32>(rows[words + ROW_PRESENCE_PENALTY]); }
  out[index] = logit;
}
`,
  },
  'penalties/count': {
    uses: ["sizes","penalty_row"],
    enables: [],
    directives: [],
    consts: {"WORKGROUP":64},
    bindings: [{"index":0,"name":"samples","access":"read_write","type":"array<u32>"},{"index":1,"name":"rows","access":"read_write","type":"array<u32>"},{"index":2,"name":"token_ids","access":"read_write","type":"array<u32>"},{"index":3,"name":"counts","access":"read_write","type":"array<atomic<u32>>"},{"index":4,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"samples","type":"u32"},{"name":"vocabulary","type":"u32"},{"name":"max_tokens","type":"u32"}],
    source: `struct Params {
  samples: u32,
  vocabulary: u32,
  max_tokens: u32,
}
@group(0) @binding(0) var<storage, read_write> samples: array<u32>;
@group(0) @binding(1) var<storage, read_write> rows: array<u32>;
@group(0) @binding(2) var<storage, read_write> token_ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(4) var<uniform> params: Params;
@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let sample = workgroup.x + workgroup.y * workgroups.x;
  if (sample >= resolve_size(params.samples) || !has_penalties(sample)) { return; }
  let row = samples[sample * SAMPLE_WORDS + SAMPLE_ROW];
  let prompt = rows[row * ROW_WORDS + ROW_PROMPT_TOKENS];
  let end = min(samples[sample * SAMPLE_WORDS + SAMPLE_POSITION], params.max_tokens);
  for (var i = lane; i < end; i += WORKGROUP) {
    let id = token_ids[row * params.max_tokens + i];
    if (id >= params.vocabulary) { continue; }
    if (i < prompt) {
      atomicOr(&counts[sample * params.vocabulary + id], COUNT_IN_PROMPT);
    } else {
      atomicAdd(&counts[sample * params.vocabulary + id], 1u);
    }
  }
}
`,
  },
  'pool': {
    uses: ["sizes","elements"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<f32>"},{"index":1,"name":"sequences","access":"read_write","type":"array<u32>"},{"index":2,"name":"out","access":"read_write","type":"array<f32>"},{"index":3,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"sequences","type":"u32"},{"name":"width","type":"u32"},{"name":"sum","type":"u32"}],
    source: `struct Params {
  sequences: u32,
  width: u32,
  sum: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> sequences: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;
fn element_count() -> u32 { return resolve_size(params.sequences) * params.width; }
fn run_element(index: u32) {
  let at = (index / params.width) * SEQUENCE_WORDS;
  if (sequences[at + SEQUENCE_CONTEXT_LEN] == 0u) { return; }
  let column = index % params.width;
  let to = sequences[at + SEQUENCE_ROW] * params.width + column;
  let start = sequences[at + SEQUENCE_QUERY_START];
  let end = start + sequences[at + SEQUENCE_QUERY_LEN];
  if (params.sum == 0u) {
    out[to] = x[(end - 1u) * params.width + column];
    return;
  }
  var total = 0.0;
  if (sequences[at + SEQUENCE_FIRST_POSITION] > 0u) { total = out[to]; }
  for (var token = start; token < end; token++) { total += x[token * params.width + column]; }
  out[to] = total;
}
`,
  },
  'prepare_adapters': {
    uses: ["sizes","elements"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"sequences","access":"read_write","type":"array<u32>"},{"index":1,"name":"rows","access":"read","type":"array<u32>"},{"index":2,"name":"adapters","access":"read_write","type":"array<u32>"},{"index":3,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"sequences","type":"u32"},{"name":"tokens","type":"u32"}],
    source: `struct Params {
  sequences: u32,
  tokens: u32,
}
@group(0) @binding(0) var<storage, read_write> sequences: array<u32>;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read_write> adapters: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;
fn element_count() -> u32 { return resolve_size(params.tokens); }
fn begins_by(index: u32, token: u32) -> bool {
  let at = index * SEQUENCE_WORDS;
  return sequences[at + SEQUENCE_QUERY_LEN] > 0u && sequences[at + SEQUENCE_QUERY_START] <= token;
}
fn run_element(token: u32) {
  var low = 0u;
  var high = resolve_size(params.sequences);
  while (low < high) {
    let middle = (low + high) / 2u;
    if (begins_by(middle, token)) { low = middle + 1u; } else { high = middle; }
  }
  var adapter = NONE;
  if (low > 0u) {
    let at = (low - 1u) * SEQUENCE_WORDS;
    let end = sequences[at + SEQUENCE_QUERY_START] + sequences[at + SEQUENCE_QUERY_LEN];
    if (sequences[at + SEQUENCE_CONTEXT_LEN] > 0u && token < end) {
      adapter = rows[sequences[at + SEQUENCE_ROW] * ROW_WORDS + ROW_ADAPTER];
    }
  }
  adapters[token] = adapter;
}
`,
  },
  'prepare_inputs': {
    uses: ["sizes"],
    enables: [],
    directives: [],
    consts: {"WORKGROUP":64},
    bindings: [{"index":0,"name":"batch","access":"read_write","type":"array<u32>"},{"index":1,"name":"rows","access":"read","type":"array<u32>"},{"index":2,"name":"token_ids","access":"read","type":"array<u32>"},{"index":3,"name":"block_tables","access":"read","type":"array<u32>"},{"index":4,"name":"input_ids","access":"read_write","type":"array<u32>"},{"index":5,"name":"positions","access":"read_write","type":"array<u32>"},{"index":6,"name":"slot_mapping","access":"read_write","type":"array<u32>"},{"index":7,"name":"sequences","access":"read_write","type":"array<u32>"},{"index":8,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"tokens","type":"u32"},{"name":"sequences","type":"u32"},{"name":"max_tokens","type":"u32"},{"name":"max_blocks","type":"u32"},{"name":"block_size","type":"u32"}],
    source: `struct Params {
  tokens: u32,
  sequences: u32,
  max_tokens: u32,
  max_blocks: u32,
  block_size: u32,
}
@group(0) @binding(0) var<storage, read_write> batch: array<u32>;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read> token_ids: array<u32>;
@group(0) @binding(3) var<storage, read> block_tables: array<u32>;
@group(0) @binding(4) var<storage, read_write> input_ids: array<u32>;
@group(0) @binding(5) var<storage, read_write> positions: array<u32>;
@group(0) @binding(6) var<storage, read_write> slot_mapping: array<u32>;
@group(0) @binding(7) var<storage, read_write> sequences: array<u32>;
@group(0) @binding(8) var<uniform> params: Params;
fn write_token(token: u32, id: u32, position: u32, slot: u32) {
  input_ids[token] = id;
  positions[token] = position;
  slot_mapping[token] = slot;
}
fn slot_of(row: u32, position: u32) -> u32 {
  let block = block_tables[row * params.max_blocks + position / params.block_size];
  return block * params.block_size + position % params.block_size;
}
fn is_live(row_words: u32, end: u32, samples: u32) -> bool {
  let known = rows[row_words + ROW_NUM_TOKENS];
  let within = end <= min(known, rows[row_words + ROW_BLOCK_CREDIT]);
  let beyond_limit = samples > 0u && end == known && known >= rows[row_words + ROW_TOKEN_LIMIT];
  return within && !beyond_limit;
}
fn prepare_sequence(index: u32, lane: u32) {
  let record = (1u + index) * BATCH_WORDS;
  let row = batch[record + BATCH_ROW];
  let query_start = batch[record + BATCH_QUERY_START];
  let query_length = batch[record + BATCH_QUERY_LEN];
  let sample_count = batch[record + BATCH_SAMPLE_COUNT];
  let row_words = row * ROW_WORDS;
  let first = rows[row_words + ROW_NUM_COMPUTED];
  let live = is_live(row_words, first + query_length, sample_count);
  if (lane == 0u) {
    let at = index * SEQUENCE_WORDS;
    sequences[at + SEQUENCE_ROW] = row;
    sequences[at + SEQUENCE_QUERY_START] = query_start;
    sequences[at + SEQUENCE_QUERY_LEN] = query_length;
    sequences[at + SEQUENCE_CONTEXT_LEN] = select(0u, first + query_length, live);
    sequences[at + SEQUENCE_SAMPLE_START] = batch[record + BATCH_SAMPLE_START];
    sequences[at + SEQUENCE_SAMPLE_COUNT] = sample_count;
    sequences[at + SEQUENCE_FIRST_POSITION] = first;
    sequences[at + SEQUENCE_NUM_TOKENS] = rows[row_words + ROW_NUM_TOKENS];
  }
  for (var i = lane; i < query_length; i += WORKGROUP) {
    if (live) {
      write_token(query_start + i, token_ids[row * params.max_tokens + first + i], first + i, slot_of(row, first + i));
    } else {
      write_token(query_start + i, 0u, 0u, NONE);
    }
  }
}
@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = workgroup.x + workgroup.y * workgroups.x;
  if (index == 0u && lane == 0u) { batch[HEADER_STEP_COUNTER] += 1u; }
  if (index < resolve_size(params.sequences)) {
    if (index < batch[HEADER_NUM_SEQUENCES]) {
      prepare_sequence(index, lane);
    } else if (lane < SEQUENCE_WORDS) {
      sequences[index * SEQUENCE_WORDS + lane] = 0u;
    }
  }
  let stride = workgroups.x * workgroups.y * WORKGROUP;
  for (var token = batch[HEADER_NUM_TOKENS] + index * WORKGROUP + lane; token < resolve_size(params.tokens); token += stride) {
    write_token(token, 0u, 0u, NONE);
  }
}
`,
  },
  'prepare_samples': {
    uses: ["sizes"],
    enables: [],
    directives: [],
    consts: {"WORKGROUP":64},
    bindings: [{"index":0,"name":"batch","access":"read_write","type":"array<u32>"},{"index":1,"name":"sequences","access":"read_write","type":"array<u32>"},{"index":2,"name":"token_ids","access":"read","type":"array<u32>"},{"index":3,"name":"samples","access":"read_write","type":"array<u32>"},{"index":4,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"sequences","type":"u32"},{"name":"samples","type":"u32"},{"name":"max_tokens","type":"u32"}],
    source: `struct Params {
  sequences: u32,
  samples: u32,
  max_tokens: u32,
}
@group(0) @binding(0) var<storage, read_write> batch: array<u32>;
@group(0) @binding(1) var<storage, read_write> sequences: array<u32>;
@group(0) @binding(2) var<storage, read> token_ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> samples: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;
fn write_sample(index: u32, token: u32, row: u32, position: u32, known: u32) {
  let at = index * SAMPLE_WORDS;
  samples[at + SAMPLE_TOKEN] = token;
  samples[at + SAMPLE_ROW] = row;
  samples[at + SAMPLE_POSITION] = position;
  samples[at + SAMPLE_TARGET] = known;
}
fn prepare_sequence(index: u32, lane: u32) {
  let at = index * SEQUENCE_WORDS;
  let row = sequences[at + SEQUENCE_ROW];
  let context = sequences[at + SEQUENCE_CONTEXT_LEN];
  let count = sequences[at + SEQUENCE_SAMPLE_COUNT];
  let query_end = sequences[at + SEQUENCE_QUERY_START] + sequences[at + SEQUENCE_QUERY_LEN];
  for (var i = lane; i < count; i += WORKGROUP) {
    let sample = sequences[at + SEQUENCE_SAMPLE_START] + i;
    if (context == 0u) {
      write_sample(sample, 0u, NONE, 0u, NONE);
      continue;
    }
    let position = context - count + i + 1u;
    var known = NONE;
    if (position < sequences[at + SEQUENCE_NUM_TOKENS]) { known = token_ids[row * params.max_tokens + position]; }
    write_sample(sample, query_end - count + i, row, position, known);
  }
}
@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = workgroup.x + workgroup.y * workgroups.x;
  if (index < resolve_size(params.sequences)) { prepare_sequence(index, lane); }
  let stride = workgroups.x * workgroups.y * WORKGROUP;
  let padding = batch[HEADER_NUM_SAMPLES] + index * WORKGROUP + lane;
  for (var sample = padding; sample < resolve_size(params.samples); sample += stride) {
    write_sample(sample, 0u, NONE, 0u, NONE);
  }
}
`,
  },
  'rms_norm': {
    uses: ["sizes","element","rms"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<f32>"},{"index":1,"name":"residual","access":"read_write","type":"array<f32>"},{"index":2,"name":"sum","access":"read_write","type":"array<f32>"},{"index":3,"name":"out","access":"read_write","type":"array<f32>"},{"index":4,"name":"weight","access":"read","type":"array<u32>"},{"index":5,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"lanes":["lanes_one","lanes_subgroup","lanes_workgroup"]},
    params: [{"name":"rows","type":"u32"},{"name":"width","type":"u32"},{"name":"eps","type":"f32"},{"name":"residual_mode","type":"u32"},{"name":"weight_dtype","type":"u32"}],
    source: `struct Params {
  rows: u32,
  width: u32,
  eps: f32,
  residual_mode: u32,
  weight_dtype: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> residual: array<f32>;
@group(0) @binding(2) var<storage, read_write> sum: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<storage, read> weight: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;
const PUBLISHED = 1u;
const RESIDUAL_NONE = 0u;
const RESIDUAL_READ = 1u;
const RESIDUAL_IN_SUM = 2u;
fn input_value(index: u32) -> f32 {
  switch (params.residual_mode) {
    case RESIDUAL_NONE: { return x[index]; }
    case RESIDUAL_READ: { return x[index] + residual[index]; }
    default: { return x[index] + sum[index]; }
  }
}
fn add_square(squares: f32, index: u32) -> f32 {
  let value = input_value(index);
  if (params.residual_mode != RESIDUAL_NONE) { sum[index] = value; }
  return fma(value, value, squares);
}
fn store(start: u32, column: u32, scale: f32) {
  let word = weight[element_word(params.weight_dtype, column)];
  out[start + column] = read_back(start + column) * scale * element_value(params.weight_dtype, word, column);
}
fn read_back(index: u32) -> f32 {
  if (params.residual_mode == RESIDUAL_NONE) { return x[index]; }
  return sum[index];
}
fn run(group: u32, lane: u32) {
  if (group >= resolve_size(params.rows)) { return; }
  let start = group * params.width;
  let whole = params.width - params.width % 4u;
  var squares = 0.0;
  for (var column = 4u * lane; column < whole; column += 4u * LANES) {
    squares = add_square(squares, start + column);
    squares = add_square(squares, start + column + 1u);
    squares = add_square(squares, start + column + 2u);
    squares = add_square(squares, start + column + 3u);
  }
  for (var column = whole + lane; column < params.width; column += LANES) { squares = add_square(squares, start + column); }
  let scale = rms_scale(squares, params.width);
  for (var column = 4u * lane; column < whole; column += 4u * LANES) {
    store(start, column, scale);
    store(start, column + 1u, scale);
    store(start, column + 2u, scale);
    store(start, column + 3u, scale);
  }
  for (var column = whole + lane; column < params.width; column += LANES) { store(start, column, scale); }
}
`,
  },
  'rope': {
    uses: ["sizes","rotary"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"qkv","access":"read_write","type":"array<f32>"},{"index":1,"name":"positions","access":"read_write","type":"array<u32>"},{"index":2,"name":"table","access":"read","type":"array<f32>"},{"index":3,"name":"q_norm","access":"read","type":"array<u32>"},{"index":4,"name":"k_norm","access":"read","type":"array<u32>"},{"index":5,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"lanes":["lanes_one","lanes_subgroup","lanes_workgroup"]},
    params: [{"name":"tokens","type":"u32"},{"name":"heads","type":"u32"},{"name":"kv_heads","type":"u32"},{"name":"head_dim","type":"u32"},{"name":"stride","type":"u32"},{"name":"pairs","type":"u32"},{"name":"interleaved","type":"u32"},{"name":"norm_eps","type":"f32"},{"name":"norm_dtype","type":"u32"},{"name":"word_elements","type":"u32"},{"name":"units","type":"u32"},{"name":"rotary_units","type":"u32"},{"name":"unit_pairs","type":"u32"}],
    source: `struct Params {
  tokens: u32,
  heads: u32,
  kv_heads: u32,
  head_dim: u32,
  stride: u32,
  pairs: u32,
  interleaved: u32,
  norm_eps: f32,
  norm_dtype: u32,
  word_elements: u32,
  units: u32,
  rotary_units: u32,
  unit_pairs: u32,
}
@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> positions: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read> q_norm: array<u32>;
@group(0) @binding(4) var<storage, read> k_norm: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;
const PUBLISHED = 1u;
fn run(group: u32, lane: u32) {
  let heads = params.heads + params.kv_heads;
  if (group >= resolve_size(params.tokens) * heads) { return; }
  let token = group / heads;
  let head = group % heads;
  let start = token * params.stride + head * params.head_dim;
  let scale = head_scale(start, lane);
  for (var unit = lane; unit < params.units; unit += LANES) {
    turn_unit(start, unit, positions[token], head < params.heads, scale);
  }
}
`,
  },
  'rope_kv_write': {
    uses: ["sizes","paged","rotary","cache_word"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"qkv","access":"read_write","type":"array<f32>"},{"index":1,"name":"positions","access":"read_write","type":"array<u32>"},{"index":2,"name":"table","access":"read","type":"array<f32>"},{"index":3,"name":"q_norm","access":"read","type":"array<u32>"},{"index":4,"name":"k_norm","access":"read","type":"array<u32>"},{"index":5,"name":"slot_mapping","access":"read_write","type":"array<u32>"},{"index":6,"name":"k_cache","access":"read_write","type":"array<u32>"},{"index":7,"name":"v_cache","access":"read_write","type":"array<u32>"},{"index":8,"name":"params","access":"uniform","type":"Params"}],
    fragments: {"lanes":["lanes_one","lanes_subgroup","lanes_workgroup"]},
    params: [{"name":"tokens","type":"u32"},{"name":"heads","type":"u32"},{"name":"kv_heads","type":"u32"},{"name":"head_dim","type":"u32"},{"name":"stride","type":"u32"},{"name":"block_size","type":"u32"},{"name":"pairs","type":"u32"},{"name":"interleaved","type":"u32"},{"name":"norm_eps","type":"f32"},{"name":"norm_dtype","type":"u32"},{"name":"word_elements","type":"u32"},{"name":"units","type":"u32"},{"name":"rotary_units","type":"u32"},{"name":"unit_pairs","type":"u32"},{"name":"unit_words","type":"u32"},{"name":"unit_step","type":"u32"},{"name":"word_step","type":"u32"}],
    source: `struct Params {
  tokens: u32,
  heads: u32,
  kv_heads: u32,
  head_dim: u32,
  stride: u32,
  block_size: u32,
  pairs: u32,
  interleaved: u32,
  norm_eps: f32,
  norm_dtype: u32,
  word_elements: u32,
  units: u32,
  rotary_units: u32,
  unit_pairs: u32,
  unit_words: u32,
  unit_step: u32,
  word_step: u32,
}
@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> positions: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read> q_norm: array<u32>;
@group(0) @binding(4) var<storage, read> k_norm: array<u32>;
@group(0) @binding(5) var<storage, read_write> slot_mapping: array<u32>;
@group(0) @binding(6) var<storage, read_write> k_cache: array<u32>;
@group(0) @binding(7) var<storage, read_write> v_cache: array<u32>;
@group(0) @binding(8) var<uniform> params: Params;
const PUBLISHED = 1u;
fn store_word(start: u32, row: u32, word: u32, is_key: bool) {
  let at = row * (params.head_dim / params.word_elements) + word;
  let value = cache_word(start + word * params.word_elements);
  if (is_key) { k_cache[at] = value; } else { v_cache[at] = value; }
}
fn store_unit(start: u32, row: u32, unit: u32, is_key: bool) {
  if (unit >= params.rotary_units) {
    store_word(start, row, rest_of(unit) / params.word_elements, is_key);
    return;
  }
  for (var i = 0u; i < params.unit_words; i++) {
    store_word(start, row, unit * params.unit_step + i * params.word_step, is_key);
  }
}
fn run(group: u32, lane: u32) {
  let turned_heads = params.heads + params.kv_heads;
  let all_heads = turned_heads + params.kv_heads;
  if (group >= resolve_size(params.tokens) * all_heads) { return; }
  let token = group / all_heads;
  let head = group % all_heads;
  let start = token * params.stride + head * params.head_dim;
  if (head < turned_heads) {
    let scale = head_scale(start, lane);
    for (var unit = lane; unit < params.units; unit += LANES) {
      turn_unit(start, unit, positions[token], head < params.heads, scale);
    }
  }
  let slot = slot_mapping[token];
  if (head < params.heads || slot == NONE) { return; }
  let kv_head = (head - params.heads) % params.kv_heads;
  let row = cache_row(slot / params.block_size, kv_head, slot % params.block_size, params.kv_heads, params.block_size);
  for (var unit = lane; unit < params.units; unit += LANES) { store_unit(start, row, unit, head < turned_heads); }
}
`,
  },
  'sample': {
    uses: ["sizes","sampled_pair","philox"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"logits","access":"read_write","type":"array<f32>"},{"index":1,"name":"thresholds","access":"read_write","type":"array<f32>"},{"index":2,"name":"samples","access":"read_write","type":"array<u32>"},{"index":3,"name":"rows","access":"read_write","type":"array<u32>"},{"index":4,"name":"sampled","access":"read_write","type":"array<u32>"},{"index":5,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"samples","type":"u32"},{"name":"vocabulary","type":"u32"}],
    source: `struct Params {
  samples: u32,
  vocabulary: u32,
}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> thresholds: array<f32>;
@group(0) @binding(2) var<storage, read_write> samples: array<u32>;
@group(0) @binding(3) var<storage, read_write> rows: array<u32>;
@group(0) @binding(4) var<storage, read_write> sampled: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;
fn sample_count() -> u32 { return resolve_size(params.samples); }
fn run_sample(sample: u32, lane: u32) {
  let row = workgroup_value(lane, samples[sample * SAMPLE_WORDS + SAMPLE_ROW]);
  if (row == NONE) {
    write_no_pair(sample, lane);
    return;
  }
  let temperature = bitcast<f32>(rows[row * ROW_WORDS + ROW_TEMPERATURE]);
  let start = sample * params.vocabulary;
  var scan = Scan(Candidate(0u, NONE), true);
  for (var first = lane * 4u; first < params.vocabulary; first += LANES * 4u) {
    let end = min(4u, params.vocabulary - first);
    if (temperature == 0.0) {
      for (var i = 0u; i < end; i++) {
        let logit = logits[start + first + i];
        scan_token(&scan, first + i, logit, logit);
      }
    } else {
      scan_noisy(&scan, sample, row, temperature, start, first, end);
    }
  }
  write_pair(sample, lane, scan);
}
fn scan_noisy(
  scan: ptr<function, Scan>,
  sample: u32,
  row: u32,
  temperature: f32,
  start: u32,
  first: u32,
  end: u32,
) {
  let threshold = thresholds[sample];
  var words = vec4u();
  var drawn = false;
  for (var i = 0u; i < end; i++) {
    let logit = logits[start + first + i];
    (*scan).finite = (*scan).finite && is_finite(logit);
    if (!is_finite(logit) || logit < threshold) { continue; }
    if (!drawn) {
      let position = samples[sample * SAMPLE_WORDS + SAMPLE_POSITION];
      let key = vec2u(rows[row * ROW_WORDS + ROW_SEED_LOW], rows[row * ROW_WORDS + ROW_SEED_HIGH]);
      words = philox(vec4u(first >> 2u, position, 0u, 0u), key);
      drawn = true;
    }
    scan_token(scan, first + i, logit, logit / temperature + gumbel(words[i]));
  }
}
`,
  },
  'scale': {
    uses: ["sizes","elements"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"x","access":"read_write","type":"array<f32>"},{"index":1,"name":"out","access":"read_write","type":"array<f32>"},{"index":2,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"rows","type":"u32"},{"name":"width","type":"u32"},{"name":"factor","type":"f32"},{"name":"soft_cap","type":"f32"},{"name":"in_place","type":"u32"}],
    source: `struct Params {
  rows: u32,
  width: u32,
  factor: f32,
  soft_cap: f32,
  in_place: u32,
}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;
fn element_count() -> u32 { return resolve_size(params.rows) * params.width; }
fn run_element(index: u32) {
  var value: f32;
  if (params.in_place != 0u) { value = out[index]; } else { value = x[index]; }
  value *= params.factor;
  if (params.soft_cap != 0.0) { value = params.soft_cap * tanh(clamp(value / params.soft_cap, -15.0, 15.0)); }
  out[index] = value;
}
`,
  },
  'zero_blocks': {
    uses: ["sizes","elements"],
    enables: [],
    directives: [],
    consts: {},
    bindings: [{"index":0,"name":"k_cache","access":"read_write","type":"array<u32>"},{"index":1,"name":"v_cache","access":"read_write","type":"array<u32>"},{"index":2,"name":"blocks","access":"read_write","type":"array<u32>"},{"index":3,"name":"params","access":"uniform","type":"Params"}],
    fragments: {},
    params: [{"name":"count","type":"u32"},{"name":"words","type":"u32"}],
    source: `struct Params {
  count: u32,
  words: u32,
}
@group(0) @binding(0) var<storage, read_write> k_cache: array<u32>;
@group(0) @binding(1) var<storage, read_write> v_cache: array<u32>;
@group(0) @binding(2) var<storage, read_write> blocks: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;
fn element_count() -> u32 { return resolve_size(params.count) * params.words; }
fn run_element(index: u32) {
  let block = blocks[index / params.words];
  if (block == NONE) { return; }
  let at = block * params.words + index % params.words;
  k_cache[at] = 0u;
  v_cache[at] = 0u;
}
`,
  },
} as const;
