// maskLogits: masks the ids whose bit is not set in the mask of the sample's row, where the row has one. One block per sample.
#include "lib/elements.h"
#include "lib/sampler.h"
#include "ops/sampling.h"

namespace quire {
namespace {

__global__ void maskLogitsKernel(const float* logits, const uint32_t* samples, const uint32_t* rows, const uint32_t* masks, float* out, int vocabulary, int maskWords) {
  waitForPrevious();
  const int s = blockIdx.x;
  const SampleView sample = viewSample(samples, rows, s);
  const float* from = logits + static_cast<int64_t>(s) * vocabulary;
  float* to = out + static_cast<int64_t>(s) * vocabulary;
  const bool masked = sample.open && sample.word(Row::masked) != 0;
  const uint32_t* mask = masked ? masks + static_cast<int64_t>(sample.row) * maskWords : masks;
  if (!masked && from == to) return;
  // Each thread reads an id before it writes it, so `out` may be `logits`.
  for (int id = threadIdx.x; id < vocabulary; id += blockDim.x) {
    const bool allowed = !masked || (mask[id / 32] >> (id % 32) & 1u) != 0;
    to[id] = allowed ? from[id] : MASKED_LOGIT;
  }
}

}  // namespace

cudaError_t maskLogits(const MaskLogits& a, const Step& s) {
  if (a.logits.rows == 0) return cudaSuccess;
  return gpuLaunch({"maskLogits", {static_cast<unsigned>(a.logits.rows)}, {kSamplerThreads}, 0, s.stream}, maskLogitsKernel, a.logits.as<float>(), a.samples.as<uint32_t>(), a.rows.as<uint32_t>(),
                   a.masks.as<uint32_t>(), a.out.as<float>(), static_cast<int>(a.logits.columns), static_cast<int>(a.masks.columns));
}

}  // namespace quire
