// applyRowDelta: scatters the segments of a delta into the row state. One block per segment.
#include "lib/elements.h"
#include "lib/row_state.h"
#include "ops/rows.h"

namespace quire {
namespace {

struct Targets {
  uint32_t* of[5];
};

__global__ void applyRowDeltaKernel(const uint32_t* delta, Targets targets) {
  waitForPrevious();
  if (blockIdx.x >= delta[0]) return;
  const uint32_t* segment = delta + DELTA_HEADER_WORDS + blockIdx.x * DELTA_SEGMENT_WORDS;
  uint32_t* destination = targets.of[segment[0]] + segment[1];
  const uint32_t* source = delta + segment[2];
  for (uint32_t i = threadIdx.x; i < segment[3]; i += blockDim.x) destination[i] = source[i];
}

}  // namespace

cudaError_t applyRowDelta(const ApplyRowDelta& a, const Step& s) {
  if (s.sizes.deltaSegments == 0) return cudaSuccess;
  const Targets targets{{a.rows.as<uint32_t>(), a.blockTables.as<uint32_t>(), a.tokenIds.as<uint32_t>(), a.batch.as<uint32_t>(), a.biases.as<uint32_t>()}};
  return gpuLaunch({"applyRowDelta", {static_cast<unsigned>(s.sizes.deltaSegments)}, {128}, 0, s.stream}, applyRowDeltaKernel, a.delta.as<uint32_t>(), targets);
}

}  // namespace quire
