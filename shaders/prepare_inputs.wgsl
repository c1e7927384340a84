// Derives ids, positions and cache slots of the step's tokens, and the record of each sequence, from batch and row state.
//
// binding       dtype, shape                        what
// batch         u32 [1 + maxRows, BATCH_WORDS]      header.stepCounter is advanced
// rows          u32 [maxRows, ROW_WORDS]
// token_ids     u32 [maxRows, max_tokens]
// block_tables  u32 [maxRows, max_blocks]
// input_ids     u32 [tokens]
// positions     u32 [tokens]
// slot_mapping  u32 [tokens]                        NONE for padding
// sequences     u32 [sequences, SEQUENCE_WORDS]
// params
// grid: one workgroup per sequence, at least one; padding tokens are shared among all.
// uses: sizes
// consts: WORKGROUP = 64
struct Params {
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
