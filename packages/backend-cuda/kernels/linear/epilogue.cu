// The output of linear from sums that lie in memory: what follows a product of the library that it cannot do itself. A thread
// takes four columns.
#include "output.h"

namespace quire {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) linearEpilogue(const float* all, LinearOutput out, int weightRows) {
  launchDependents();
  waitForPrevious();
  // Rows go along x, which has room for any number.
  const int column = static_cast<int>(blockIdx.y * kThreads + threadIdx.x) * 4, row = blockIdx.x;
  if (column >= out.n) return;
  const float* const from = all + static_cast<int64_t>(row) * weightRows + column;
  auto load = [](const float* p, float (&to)[4]) {
    const float4 v = GPU_LOAD(reinterpret_cast<const float4*>(p));
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
  };
  float sums[4], ups[4] = {};
  load(from, sums);
  if (out.gated) load(from + out.n, ups);
  storeOutput(out, row, column, sums, ups);
}

}  // namespace

cudaError_t linearEpilogueLaunch(const LinearProblem& p, const float* sums, const Step& s) {
  const GpuLaunch l{"linearEpilogue", {static_cast<unsigned>(p.rows()), ceilDiv(p.n(), 4 * kThreads)}, {kThreads}, 0, s.stream};
  return gpuLaunch(l, linearEpilogue, sums, makeOutput(p), p.weight.rows);
}

}  // namespace quire
