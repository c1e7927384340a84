// linear, streaming form, for any dtype and shape: every warp owns 4 rows of the weight and up to kRows rows of x; lanes run
// along K one element at a time, so that the weight is read once per kRows rows.
#include "../lib/reduce.h"
#include "output.h"

namespace quire {
namespace {

constexpr int kColumns = 4;
constexpr int kWarps = 4;

template <class W, class T, int kRows>
__global__ void linearStreaming(const T* x, const W* weight, LinearOutput out, int k) {
  waitForPrevious();
  const int lane = threadIdx.x % 32;
  // Gated: two rows of gates and the two of their ups.
  const int columns = out.gated ? kColumns / 2 : kColumns;
  const int column0 = (blockIdx.x * kWarps + threadIdx.x / 32) * columns, row0 = blockIdx.y * kRows;
  if (column0 >= out.n) return;
  float sums[kRows * kColumns] = {};
  for (int i = lane; i < k; i += 32) {
    float values[kRows];
    for (int r = 0; r < kRows; r++) values[r] = row0 + r < out.rows ? toFloat(x[static_cast<int64_t>(row0 + r) * k + i]) : 0.0f;
    for (int c = 0; c < kColumns; c++) {
      const int column = column0 + c % columns;
      if (column >= out.n) continue;
      const float w = toFloat(GPU_LOAD(weight + static_cast<int64_t>(column + c / columns * out.n) * k + i));
      for (int r = 0; r < kRows; r++) sums[r * kColumns + c] += values[r] * w;
    }
  }
  const float sum = warpSums<kRows * kColumns>(sums);
  constexpr int kLanes = 32 / (kRows * kColumns);
  const int r = lane / kLanes / kColumns, c = lane / kLanes % kColumns;
  float values[1] = {sum}, ups[1] = {__shfl_down_sync(kFullMask, sum, 2 * kLanes)};
  if (lane % kLanes == 0 && c < columns && row0 + r < out.rows && column0 + c < out.n) storeOutput(out, row0 + r, column0 + c, values, ups);
}

template <class W, class T, int kRows>
cudaError_t launch(const LinearProblem& p, const Step& s) {
  const int columns = p.gated ? kColumns / 2 : kColumns;
  const GpuLaunch l{p.gated ? "gatedLinearStreaming" : "linearStreaming", {ceilDiv(p.n(), kWarps * columns), ceilDiv(p.rows(), kRows)}, {32 * kWarps}, 0, s.stream};
  return gpuLaunch(l, linearStreaming<W, T, kRows>, p.x.as<T>(), p.weight.as<W>(), makeOutput(p), p.k());
}

}  // namespace

cudaError_t linearStreamingLaunch(const LinearProblem& p, const Step& s) {
  return withDType(p.weight.dtype, [&](auto* w) {
    return withDType(p.x.dtype, [&](auto* x) {
      using W = Element<decltype(w)>;
      using T = Element<decltype(x)>;
      return p.rows() == 1 ? launch<W, T, 1>(p, s) : launch<W, T, 4>(p, s);
    });
  });
}

}  // namespace quire
