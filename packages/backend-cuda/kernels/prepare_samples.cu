// prepareSamples: the record of every position whose logits are computed. One block per sequence; the last fills padding.
#include "lib/elements.h"
#include "lib/sample_records.h"
#include "ops/rows.h"

namespace quire {
namespace {

__global__ void prepareSamplesKernel(const uint32_t* batch, const uint32_t* sequences, const uint32_t* tokenIds, uint32_t* samples, int numSequences, int numSamples, int maxModelLen) {
  launchDependents();
  waitForPrevious();
  const int i = blockIdx.x;
  if (i == numSequences) return padSamples(samples, batch, numSamples);
  uint32_t record[SEQUENCE_WORDS];
#pragma unroll
  for (int w = 0; w < SEQUENCE_WORDS; w++) record[w] = sequences[i * SEQUENCE_WORDS + w];
  writeSamples(samples, record, tokenIds, maxModelLen);
}

}  // namespace

cudaError_t prepareSamples(const PrepareSamples& a, const Step& s) {
  return gpuLaunch({"prepareSamples", {static_cast<unsigned>(s.sizes.sequences + 1)}, {32}, 0, s.stream}, prepareSamplesKernel, a.batch.as<uint32_t>(), a.sequences.as<uint32_t>(),
                   a.tokenIds.as<uint32_t>(), a.samples.as<uint32_t>(), s.sizes.sequences, s.sizes.samples, static_cast<int>(a.tokenIds.columns));
}

}  // namespace quire
