// loraLinear: what the low-rank adapters of the rows add to a linear layer, in two launches. First hidden = x a^T, a warp for each row and
// column of hidden, whose lanes go along the depth; then out += scale hidden b^T, a thread for each element of out. The order of a sum
// depends on depth and rank alone. Rows of one adapter do not share its matrices but through the second cache: they are small, and the
// rows of a decode step have different ones.
#include "lib/elements.h"
#include "lib/reduce.h"
#include "lib/row_state.h"
#include "ops/lora.h"

namespace quire {
namespace {

constexpr int kShrinkWarps = 8;
constexpr int kExpandThreads = 256;

template <class T, class W>
__global__ void loraShrink(const T* x, const uint32_t* adapters, const W* a, float* hidden, int width, int depth) {
  launchDependents();
  waitForPrevious();
  const int64_t row = blockIdx.x;
  const int column = static_cast<int>(blockIdx.y) * kShrinkWarps + static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const uint32_t slot = adapters[row];
  if (slot == NONE || column >= width) return;
  const T* input = x + row * depth;
  const W* weights = a + (static_cast<int64_t>(slot) * width + column) * depth;
  float sum = 0;
  for (int k = lane; k < depth; k += 32) sum += toFloat(GPU_LOAD(input + k)) * toFloat(GPU_LOAD(weights + k));
  sum = warpSum(sum);
  if (lane == 0) GPU_STORE(hidden + row * width + column, sum);
}

template <class T, class W>
__global__ void loraExpand(const float* hidden, const uint32_t* adapters, const W* b, const float* scales, T* out, int columns, int rank, LoraSlices slices) {
  launchDependents();
  waitForPrevious();
  const int64_t row = blockIdx.x;
  const int column = static_cast<int>(blockIdx.y) * kExpandThreads + static_cast<int>(threadIdx.x);
  const uint32_t slot = adapters[row];
  if (slot == NONE || column >= columns) return;
  int slice = 0;
  while (column >= slices.end[slice]) slice++;
  const float* inputs = hidden + (row * slices.count + slice) * rank;
  const W* weights = b + (static_cast<int64_t>(slot) * columns + column) * rank;
  float sum = 0;
  for (int r = 0; r < rank; r++) sum += inputs[r] * toFloat(GPU_LOAD(weights + r));
  T* to = out + row * columns + column;
  GPU_STORE(to, fromFloat<T>(toFloat(*to) + scales[static_cast<int64_t>(slot) * slices.count + slice] * sum));
}

}  // namespace

cudaError_t loraLinear(const LoraLinear& l, const Step& s) {
  if (l.out.rows == 0) return cudaSuccess;
  const int depth = static_cast<int>(l.x.columns), width = static_cast<int>(l.hidden.columns), columns = static_cast<int>(l.out.columns), rank = width / l.slices.count;
  const auto rows = static_cast<unsigned>(l.out.rows);
  return withDType(l.a.dtype, [&](auto* w) {
    return withDType(l.out.dtype, [&](auto* o) {
      using W = Element<decltype(w)>;
      using T = Element<decltype(o)>;
      const cudaError_t shrunk = gpuLaunch({"loraShrink", {rows, ceilDiv(width, kShrinkWarps)}, {32 * kShrinkWarps}, 0, s.stream}, loraShrink<T, W>, l.x.as<T>(), l.adapters.as<uint32_t>(), l.a.as<W>(), l.hidden.as<float>(), width, depth);
      if (shrunk != cudaSuccess) return shrunk;
      return gpuLaunch({"loraExpand", {rows, ceilDiv(columns, kExpandThreads)}, {kExpandThreads}, 0, s.stream}, loraExpand<T, W>, l.hidden.as<float>(), l.adapters.as<uint32_t>(), l.b.as<W>(), l.scales.as<float>(), l.out.as<T>(), columns, rank, l.slices);
    });
  });
}

}  // namespace quire
