// argmax: the token of each sample when every row is greedy. Blocks share a row by slices of it.
#include "lib/advance.h"
#include "lib/vocabulary.h"
#include "ops/joint.h"

namespace quire {
namespace {

__global__ void __launch_bounds__(kSamplerThreads) argmaxKernel(const float* logits, const uint32_t* samples, uint32_t* sampled, int vocabulary, Slices slices, RowAdvance advance) {
  waitForPrevious();
  const SampleView sample = viewSample(samples, nullptr, blockIdx.x);
  const float* row = logits + static_cast<int64_t>(blockIdx.x) * vocabulary;
  const int begin = blockIdx.y * slices.length, end = begin + slices.length < vocabulary ? begin + slices.length : vocabulary;
  ValueIndex best{-INFINITY, NONE};
  bool infinite = false;
  forQuads(row, begin, end, [&](int id, const float(&x)[4], int count) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (i >= count) break;
      infinite |= !isFiniteBits(x[i]);
      best = better(best, {x[i], static_cast<unsigned>(id + i)});
    }
  });
  launchDependents();
  if (chooseToken(slices, sample, best, infinite, sampled)) advanceBehind(advance, gridDim.x, slices.counters + kArrivals);
}

cudaError_t launch(const Argmax& a, const RowAdvance& advance, const Step& s) {
  if (a.logits.rows == 0) return cudaSuccess;
  const int vocabulary = static_cast<int>(a.logits.columns);
  const Slices slices = sliceRows(a.logits.rows, vocabulary, s);
  const dim3 grid{static_cast<unsigned>(a.logits.rows), static_cast<unsigned>(slices.count)};
  return gpuLaunch({"argmax", grid, {kSamplerThreads}, 0, s.stream}, argmaxKernel, a.logits.as<float>(), a.samples.as<uint32_t>(), a.sampled.as<uint32_t>(), vocabulary, slices, advance);
}

}  // namespace

size_t argmaxWorkspace(const StepSizes& maxSizes) { return sliceWorkspace(maxSizes.samples); }

cudaError_t argmax(const Argmax& a, const Step& s) { return launch(a, {}, s); }

cudaError_t argmaxAndAdvance(const Argmax& a, const AdvanceRows& rows, const Step& s) { return launch(a, rowAdvance(rows, s.sizes.sequences), s); }

}  // namespace quire
