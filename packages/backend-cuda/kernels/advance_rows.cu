// advanceRows: appends sampled tokens to their rows and to the ring. One thread per sequence.
#include "lib/elements.h"
#include "lib/row_state.h"
#include "ops/rows.h"

namespace quire {
namespace {

struct Pointers {
  const uint32_t *batch, *sequences, *samples, *sampled;
  uint32_t *rows, *tokenIds, *ring;
};

__global__ void advanceRowsKernel(Pointers p, int numSequences, int maxModelLen, int maxRows, int ringSlots) {
  launchDependents();
  waitForPrevious();
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= numSequences || i >= static_cast<int>(p.batch[BatchHeader::numSequences])) return;
  const uint32_t* q = p.sequences + i * SEQUENCE_WORDS;
  const uint32_t rowIndex = q[Sequence::row], count = q[Sequence::sampleCount];
  const bool live = q[Sequence::contextLen] > 0;
  uint32_t* row = p.rows + rowIndex * ROW_WORDS;
  if (live) row[Row::numComputed] += q[Sequence::queryLen];
  if (count == 0) return;
  const uint32_t last = q[Sequence::sampleStart] + count - 1;
  const uint32_t id = p.sampled[2 * last], flags = p.sampled[2 * last + 1];
  if (live && p.samples[last * SAMPLE_WORDS + SampleWord::target] == NONE) {
    p.tokenIds[static_cast<int64_t>(rowIndex) * maxModelLen + row[Row::numTokens]] = id;
    row[Row::numTokens]++;
  }
  const uint32_t slot = (p.batch[BatchHeader::stepCounter] - 1) % ringSlots;
  uint32_t* entry = p.ring + (static_cast<int64_t>(slot) * maxRows + rowIndex) * 2;
  entry[0] = live ? id : NONE;
  entry[1] = live ? flags : 0;
}

}  // namespace

cudaError_t advanceRows(const AdvanceRows& a, const Step& s) {
  const Pointers p{a.batch.as<uint32_t>(), a.sequences.as<uint32_t>(), a.samples.as<uint32_t>(), a.sampled.as<uint32_t>(), a.rows.as<uint32_t>(), a.tokenIds.as<uint32_t>(), a.ring.as<uint32_t>()};
  const int maxRows = static_cast<int>(a.ring.columns / 2);
  return gpuLaunch({"advanceRows", {ceilDiv(s.sizes.sequences, 128)}, {128}, 0, s.stream}, advanceRowsKernel, p, s.sizes.sequences, static_cast<int>(a.tokenIds.columns), maxRows, a.ringSlots);
}

}  // namespace quire
