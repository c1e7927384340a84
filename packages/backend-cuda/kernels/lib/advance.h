// advanceRows, alone and behind the kernel that samples.
#pragma once
#include "../ops/rows.h"
#include "crew.h"
#include "row_state.h"

namespace quire {

// No batch: nothing is advanced.
struct RowAdvance {
  const uint32_t *batch, *sequences, *samples, *sampled;
  uint32_t *rows, *tokenIds, *ring;
  int numSequences, maxModelLen, maxRows, ringSlots;
};
inline RowAdvance rowAdvance(const AdvanceRows& a, int numSequences) {
  return {a.batch.as<uint32_t>(), a.sequences.as<uint32_t>(), a.samples.as<uint32_t>(), a.sampled.as<uint32_t>(), a.rows.as<uint32_t>(), a.tokenIds.as<uint32_t>(), a.ring.as<uint32_t>(),
          numSequences,           static_cast<int>(a.tokenIds.columns), static_cast<int>(a.ring.columns / 2), a.ringSlots};
}

// Appends what sequence i sampled to its row and to the ring.
__device__ __forceinline__ void advanceRow(const RowAdvance& a, int i) {
  if (i >= a.numSequences || i >= static_cast<int>(a.batch[BatchHeader::numSequences])) return;
  const uint32_t* q = a.sequences + i * SEQUENCE_WORDS;
  const uint32_t rowIndex = q[Sequence::row], count = q[Sequence::sampleCount];
  const bool live = q[Sequence::contextLen] > 0;
  uint32_t* row = a.rows + rowIndex * ROW_WORDS;
  if (live) row[Row::numComputed] += q[Sequence::queryLen];
  if (count == 0) return;
  const uint32_t last = q[Sequence::sampleStart] + count - 1;
  const uint32_t id = a.sampled[2 * last], flags = a.sampled[2 * last + 1];
  if (live && a.samples[last * SAMPLE_WORDS + SampleWord::target] == NONE) {
    a.tokenIds[static_cast<int64_t>(rowIndex) * a.maxModelLen + row[Row::numTokens]] = id;
    row[Row::numTokens]++;
  }
  const uint32_t slot = (a.batch[BatchHeader::stepCounter] - 1) % a.ringSlots;
  uint32_t* entry = a.ring + (static_cast<int64_t>(slot) * a.maxRows + rowIndex) * 2;
  entry[0] = live ? id : NONE;
  entry[1] = live ? flags : 0;
}

// Advances all rows in the block with which the last of `samples` samples arrives; by all threads of a block that has finished one.
// `counter` is 0, and is 0 again behind the last.
__device__ __forceinline__ void advanceBehind(const RowAdvance& a, int samples, unsigned* counter) {
  SHARED(bool, isLast, 1);
  if (a.batch == nullptr) return;
  if (samples == 1) __syncthreads();
  else if (!arriveLast(counter, samples, isLast)) return;
  // Several rows at once would cost the kernel that samples more registers than its own work.
#pragma unroll 1
  for (int i = threadIdx.x; i < a.numSequences; i += blockDim.x) advanceRow(a, i);
}

}  // namespace quire
