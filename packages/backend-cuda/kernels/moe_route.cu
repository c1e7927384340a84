// moeRoute: the experts of the largest logits of each row, and their shares of the softmax. One warp per row.
#include "lib/expert_choice.h"
#include "ops/moe.h"

namespace quire {
namespace {

constexpr int kRowsPerBlock = 4;

__global__ void moeRouteKernel(const float* logits, uint32_t* experts, float* shares, int rows, int count, int chosen, bool normalize) {
  launchDependents();
  waitForPrevious();
  const int64_t row = int64_t{blockIdx.x} * kRowsPerBlock + static_cast<int>(threadIdx.x) / 32;
  if (row < rows) routeRow(logits + row * count, experts + row * chosen, shares + row * chosen, count, chosen, normalize);
}

}  // namespace

cudaError_t moeRoute(const MoeRoute& a, const Step& s) {
  const int rows = a.experts.rows;
  if (rows == 0) return cudaSuccess;
  return gpuLaunch({"moeRoute", {ceilDiv(rows, kRowsPerBlock)}, {32 * kRowsPerBlock}, 0, s.stream}, moeRouteKernel, a.logits.as<float>(), a.experts.as<uint32_t>(), a.shares.as<float>(), rows,
                   static_cast<int>(a.logits.columns), static_cast<int>(a.experts.columns), a.normalize);
}

}  // namespace quire
