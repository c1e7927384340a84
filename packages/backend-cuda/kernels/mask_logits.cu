// maskLogits: masks the ids whose bit is not set in the mask of the sample's row, where the row has one. Blocks share a row.
#include "lib/elements.h"
#include "lib/logit_processors.h"

namespace quire {
namespace {

__global__ void maskLogitsKernel(const float* logits, const uint32_t* samples, const uint32_t* rows, const uint32_t* masks, float* out, int vocabulary, int maskWords) {
  waitForPrevious();
  const int64_t at = static_cast<int64_t>(blockIdx.x) * vocabulary;
  maskRow(logits + at, out + at, viewSample(samples, rows, blockIdx.x), masks, OwnTokens(vocabulary), maskWords);
}

}  // namespace

cudaError_t maskLogits(const MaskLogits& a, const Step& s) {
  if (a.logits.rows == 0) return cudaSuccess;
  const int vocabulary = static_cast<int>(a.logits.columns);
  const dim3 grid{static_cast<unsigned>(a.logits.rows), processorSlices(vocabulary)};
  return gpuLaunch({"maskLogits", grid, {kSamplerThreads}, 0, s.stream}, maskLogitsKernel, a.logits.as<float>(), a.samples.as<uint32_t>(), a.rows.as<uint32_t>(), a.masks.as<uint32_t>(), a.out.as<float>(), vocabulary,
                   static_cast<int>(a.masks.columns));
}

}  // namespace quire
