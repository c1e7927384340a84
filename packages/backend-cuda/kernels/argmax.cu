// argmax: the token of each sample when every row is greedy. One block per sample.
#include "lib/elements.h"
#include "lib/reduce.h"
#include "lib/sampler.h"

namespace quire {
namespace {

__global__ void argmaxKernel(const float* logits, const uint32_t* samples, uint32_t* sampled, int vocabulary) {
  SHARED(float, values, 32);
  SHARED(unsigned, indices, 32);
  SHARED(unsigned, any, 1);
  waitForPrevious();
  const int s = blockIdx.x;
  const SampleView sample = viewSample(samples, nullptr, s);
  const float* row = logits + static_cast<int64_t>(s) * vocabulary;
  ValueIndex best{-INFINITY, 0};
  bool infinite = false;
  for (int id = threadIdx.x; id < vocabulary; id += blockDim.x) {
    const float x = GPU_LOAD(row + id);
    infinite |= !isFiniteBits(x);
    best = better(best, {x, static_cast<unsigned>(id)});
  }
  best = blockBest(best, values, indices);
  infinite = blockAny(infinite, any);
  if (threadIdx.x != 0) return;
  const uint32_t id = sample.target != NONE ? sample.target : best.index;
  sampled[2 * s] = sample.row == NONE ? NONE : id;
  sampled[2 * s + 1] = sample.row == NONE ? 0 : SAMPLE_LIVE | (infinite ? 0 : SAMPLE_FINITE);
}

}  // namespace

cudaError_t argmax(const Argmax& a, const Step& s) {
  if (a.logits.rows == 0) return cudaSuccess;
  return gpuLaunch({"argmax", {static_cast<unsigned>(a.logits.rows)}, {kSamplerThreads}, 0, s.stream}, argmaxKernel, a.logits.as<float>(), a.samples.as<uint32_t>(), a.sampled.as<uint32_t>(),
                   static_cast<int>(a.logits.columns));
}

}  // namespace quire
