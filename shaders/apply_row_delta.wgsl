// Scatters the segments of a packed row delta into the row state. Segments do not overlap, so their order does not matter.
//
// binding       dtype, shape                        what
// delta         u32 [words]                         word 0: segments; then their records; then data
// rows          u32 [maxRows, ROW_WORDS]
// block_tables  u32 [maxRows, maxBlocksPerSequence]
// token_ids     u32 [maxRows, maxModelLen]
// batch         u32 [1 + maxRows, BATCH_WORDS]
// biases        u32 [maxRows, words]
// grid: one workgroup per segment, at most sizes.deltaSegments.
// uses: sizes
// consts: WORKGROUP = 64
@group(0) @binding(0) var<storage, read_write> delta: array<u32>;
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
