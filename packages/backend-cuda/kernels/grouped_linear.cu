// groupedLinear: the linear layers of the experts of each row. One warp per row and output column (and expert, where they stand side by
// side): its lanes go along the depth, so the order of a sum depends on the depth alone. Rows of one expert do not share its weights:
// right for the few rows of a decode step, whose experts differ; many rows read them again from the second cache.
#include "lib/elements.h"
#include "lib/reduce.h"
#include "ops/moe.h"

namespace quire {
namespace {

constexpr int kColumnsPerBlock = 8;

template <class T, class W>
__device__ __forceinline__ float product(const T* x, const W* weights, int depth, int lane) {
  float sum = 0;
  for (int k = lane; k < depth; k += 32) sum += toFloat(GPU_LOAD(x + k)) * toFloat(GPU_LOAD(weights + k));
  return warpSum(sum);
}

template <class T, class W>
__global__ void gatedExperts(const T* x, const uint32_t* experts, const W* weight, T* out, int chosen, int columns, int depth, unsigned firstExpert, unsigned count, Activation activation) {
  launchDependents();
  waitForPrevious();
  const int64_t block = blockIdx.x;
  const int column = static_cast<int>(blockIdx.y) * kColumnsPerBlock + static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const unsigned expert = experts[block] - firstExpert;
  if (expert >= count || column >= columns) return;
  const T* row = x + block / chosen * depth;
  const W* gates = weight + (static_cast<int64_t>(expert) * 2 * columns + column) * depth;
  const float gate = product(row, gates, depth, lane), up = product(row, gates + static_cast<int64_t>(columns) * depth, depth, lane);
  if (lane == 0) GPU_STORE(out + block * columns + column, fromFloat<T>(activate(activation, gate) * up));
}

template <class T, class W>
__global__ void summedExperts(const T* x, const uint32_t* experts, const W* weight, const float* shares, const T* residual, T* out, int chosen, int columns, int depth, unsigned firstExpert, unsigned count) {
  launchDependents();
  waitForPrevious();
  const int64_t row = blockIdx.x;
  const int column = static_cast<int>(blockIdx.y) * kColumnsPerBlock + static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  if (column >= columns) return;
  float total = 0;
  for (int j = 0; j < chosen; j++) {
    const int64_t block = row * chosen + j;
    const unsigned expert = experts[block] - firstExpert;
    if (expert >= count) continue;
    total += shares[block] * product(x + block * depth, weight + (static_cast<int64_t>(expert) * columns + column) * depth, depth, lane);
  }
  const int64_t at = row * columns + column;
  if (lane == 0) GPU_STORE(out + at, fromFloat<T>(residual == nullptr ? total : total + toFloat(residual[at])));
}

}  // namespace

cudaError_t groupedLinear(const GroupedLinear& a, const Step& s) {
  if (a.out.rows == 0) return cudaSuccess;
  const int chosen = static_cast<int>(a.experts.columns), depth = static_cast<int>(a.weight.columns);
  const auto first = static_cast<unsigned>(a.firstExpert), rows = static_cast<unsigned>(a.out.rows);
  return withDType(a.weight.dtype, [&](auto* w) {
    return withDType(a.out.dtype, [&](auto* o) {
      using W = Element<decltype(w)>;
      using T = Element<decltype(o)>;
      if (a.shares) {
        const int columns = static_cast<int>(a.out.columns);
        return gpuLaunch({"groupedLinear", {rows, ceilDiv(columns, kColumnsPerBlock)}, {32 * kColumnsPerBlock}, 0, s.stream}, summedExperts<T, W>, a.x.as<T>(), a.experts.as<uint32_t>(), a.weight.as<W>(), a.shares.as<float>(),
                         a.residual.as<T>(), a.out.as<T>(), chosen, columns, depth, first, static_cast<unsigned>(a.weight.rows / columns));
      }
      const int columns = static_cast<int>(a.out.columns) / chosen;
      return gpuLaunch({"groupedLinear", {rows * static_cast<unsigned>(chosen), ceilDiv(columns, kColumnsPerBlock)}, {32 * kColumnsPerBlock}, 0, s.stream}, gatedExperts<T, W>, a.x.as<T>(), a.experts.as<uint32_t>(), a.weight.as<W>(),
                       a.out.as<T>(), chosen, columns, depth, first, static_cast<unsigned>(a.weight.rows / (2 * columns)), a.activation);
    });
  });
}

}  // namespace quire
