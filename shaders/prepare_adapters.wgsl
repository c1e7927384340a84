// adapters[t] = the adapter of the row that token t belongs to; NONE for tokens of spent sequences and padding.
//
// binding    dtype, shape                       what
// sequences  u32 [sequences, SEQUENCE_WORDS]    in the order of their tokens, padding behind them
// rows       u32 [maxRows, ROW_WORDS]
// adapters   u32 [tokens]
// params
// grid: one invocation per token.
// uses: sizes, elements
struct Params {
  sequences: u32,
  tokens: u32,
}
@group(0) @binding(0) var<storage, read_write> sequences: array<u32>;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read_write> adapters: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

fn element_count() -> u32 { return resolve_size(params.tokens); }

// Whether a sequence begins at or before a token. Padding has no tokens.
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
