// prepareSamples: the record of every position whose logits are computed. One block per sequence; the last fills padding.
#include "lib/elements.h"
#include "lib/row_state.h"
#include "ops/rows.h"

namespace quire {
namespace {

__device__ void writeSample(uint32_t* record, uint32_t token, uint32_t row, uint32_t position, uint32_t target) {
  record[SampleWord::token] = token;
  record[SampleWord::row] = row;
  record[SampleWord::position] = position;
  record[SampleWord::target] = target;
}

__global__ void prepareSamplesKernel(const uint32_t* batch, const uint32_t* sequences, const uint32_t* tokenIds, uint32_t* samples, int numSequences, int numSamples, int maxModelLen) {
  launchDependents();
  waitForPrevious();
  const int i = blockIdx.x;
  if (i == numSequences) {
    for (int j = batch[BatchHeader::numSamples] + threadIdx.x; j < numSamples; j += blockDim.x) writeSample(samples + j * SAMPLE_WORDS, 0, NONE, 0, NONE);
    return;
  }
  const uint32_t* q = sequences + i * SEQUENCE_WORDS;
  const bool live = q[Sequence::contextLen] > 0;
  const uint32_t count = q[Sequence::sampleCount], skipped = q[Sequence::queryLen] - count;
  for (uint32_t j = threadIdx.x; j < count; j += blockDim.x) {
    uint32_t* record = samples + (q[Sequence::sampleStart] + j) * SAMPLE_WORDS;
    const uint32_t position = q[Sequence::firstPosition] + skipped + j + 1;
    const bool known = live && position < q[Sequence::numTokens];
    const uint32_t target = known ? tokenIds[static_cast<int64_t>(q[Sequence::row]) * maxModelLen + position] : NONE;
    if (live) writeSample(record, q[Sequence::queryStart] + skipped + j, q[Sequence::row], position, target);
    else writeSample(record, 0, NONE, 0, NONE);
  }
}

}  // namespace

cudaError_t prepareSamples(const PrepareSamples& a, const Step& s) {
  return gpuLaunch({"prepareSamples", {static_cast<unsigned>(s.sizes.sequences + 1)}, {32}, 0, s.stream}, prepareSamplesKernel, a.batch.as<uint32_t>(), a.sequences.as<uint32_t>(),
                   a.tokenIds.as<uint32_t>(), a.samples.as<uint32_t>(), s.sizes.sequences, s.sizes.samples, static_cast<int>(a.tokenIds.columns));
}

}  // namespace quire
