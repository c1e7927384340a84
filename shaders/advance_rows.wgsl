// After sampling: advances the rows of live sequences, appends their sampled tokens and reports them in the ring.
//
// binding    dtype, shape                        what
// batch      u32 [1 + maxRows, BATCH_WORDS]
// sequences  u32 [sequences, SEQUENCE_WORDS]
// samples    u32 [samples, SAMPLE_WORDS]
// sampled    u32 [samples, 2]                    (token id, flags)
// rows       u32 [max_rows, ROW_WORDS]
// token_ids  u32 [max_rows, max_tokens]
// ring       u32 [ring_slots, max_rows, 2]
// params
// grid: one invocation per sequence.
// uses: sizes, elements
struct Params {
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
