// moeRoute: the experts of the largest logits of each row, and their shares of the softmax. One warp per row; each round finds the
// best expert behind the one before, in falling order of logits and rising order of ids.
#include <cmath>

#include "lib/elements.h"
#include "lib/reduce.h"
#include "ops/moe.h"

namespace quire {
namespace {

constexpr int kRowsPerBlock = 4;

__device__ __forceinline__ bool follows(ValueIndex x, ValueIndex last) { return x.value < last.value || (x.value == last.value && x.index > last.index); }

__global__ void moeRouteKernel(const float* logits, uint32_t* experts, float* shares, int rows, int count, int chosen, bool normalize) {
  launchDependents();
  waitForPrevious();
  const int row = static_cast<int>(blockIdx.x) * kRowsPerBlock + static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  if (row >= rows) return;
  const float* values = logits + static_cast<int64_t>(row) * count;
  const int64_t to = static_cast<int64_t>(row) * chosen;
  ValueIndex last{INFINITY, 0};
  float largest = 0, total = 0;
  for (int j = 0; j < chosen; j++) {
    ValueIndex best{-INFINITY, kFullMask};
    for (int i = lane; i < count; i += 32) {
      const ValueIndex candidate{GPU_LOAD(values + i), static_cast<unsigned>(i)};
      if (j == 0 || follows(candidate, last)) best = better(best, candidate);
    }
    last = warpBest(best);
    // Nothing but NaN is left.
    if (last.index >= static_cast<unsigned>(count)) last.index = 0;
    if (j == 0) largest = last.value;
    total += expf(last.value - largest);
    if (lane == 0) {
      experts[to + j] = last.index;
      shares[to + j] = expf(last.value - largest);
    }
  }
  if (!normalize) {
    float sum = 0;
    for (int i = lane; i < count; i += 32) sum += expf(values[i] - largest);
    total = warpSum(sum);
  }
  if (lane == 0) {
    for (int j = 0; j < chosen; j++) shares[to + j] /= total;
  }
}

}  // namespace

cudaError_t moeRoute(const MoeRoute& a, const Step& s) {
  const int rows = a.experts.rows;
  if (rows == 0) return cudaSuccess;
  return gpuLaunch({"moeRoute", {ceilDiv(rows, kRowsPerBlock)}, {32 * kRowsPerBlock}, 0, s.stream}, moeRouteKernel, a.logits.as<float>(), a.experts.as<uint32_t>(), a.shares.as<float>(), rows,
                   static_cast<int>(a.logits.columns), static_cast<int>(a.experts.columns), a.normalize);
}

}  // namespace quire
