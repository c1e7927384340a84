// biasLogits: adds a row's biases, and masks its stop ids while it must not stop. Blocks share a row.
#include "lib/elements.h"
#include "lib/logit_processors.h"

namespace quire {
namespace {

__global__ void biasLogitsKernel(const float* logits, const uint32_t* samples, const uint32_t* rows, const uint32_t* biases, float* out, int vocabulary, int biasWords) {
  waitForPrevious();
  const int64_t at = static_cast<int64_t>(blockIdx.x) * vocabulary;
  biasRow(logits + at, out + at, viewSample(samples, rows, blockIdx.x), biases, OwnTokens(vocabulary), biasWords);
}

}  // namespace

cudaError_t biasLogits(const BiasLogits& a, const Step& s) {
  if (a.logits.rows == 0) return cudaSuccess;
  const int vocabulary = static_cast<int>(a.logits.columns);
  const dim3 grid{static_cast<unsigned>(a.logits.rows), processorSlices(vocabulary)};
  return gpuLaunch({"biasLogits", grid, {kSamplerThreads}, 0, s.stream}, biasLogitsKernel, a.logits.as<float>(), a.samples.as<uint32_t>(), a.rows.as<uint32_t>(), a.biases.as<uint32_t>(), a.out.as<float>(), vocabulary,
                   static_cast<int>(a.biases.columns));
}

}  // namespace quire
