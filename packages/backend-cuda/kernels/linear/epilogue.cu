// The output of linear from sums that lie in memory: what follows a product of the library that it cannot do itself. A thread
// takes four columns.
#include "output.h"

namespace quire {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void __launch_bounds__(kThreads) linearEpilogue(const T* all, LinearOutput out, int weightRows) {
  launchDependents();
  waitForPrevious();
  const int column = static_cast<int>(blockIdx.x * kThreads + threadIdx.x) * 4, row = blockIdx.y;
  if (column >= out.n) return;
  const auto* quads = reinterpret_cast<const Quad<T>*>(all + static_cast<int64_t>(row) * weightRows);
  const Quad<T> first = GPU_LOAD(quads + column / 4), second = out.gated ? GPU_LOAD(quads + (out.n + column) / 4) : Quad<T>{};
  float sums[4], ups[4];
#pragma unroll
  for (int i = 0; i < 4; i++) sums[i] = toFloat(first.values[i]), ups[i] = toFloat(second.values[i]);
  storeOutput(out, row, column, sums, ups);
}

}  // namespace

cudaError_t linearEpilogueLaunch(const LinearProblem& p, const void* sums, const Step& s) {
  return withDType(p.x.dtype, [&](auto* t) {
    using T = Element<decltype(t)>;
    const GpuLaunch l{"linearEpilogue", {ceilDiv(p.n(), 4 * kThreads), static_cast<unsigned>(p.rows())}, {kThreads}, 0, s.stream};
    return gpuLaunch(l, linearEpilogue<T>, static_cast<const T*>(sums), makeOutput(p), p.weight.rows);
  });
}

}  // namespace quire
