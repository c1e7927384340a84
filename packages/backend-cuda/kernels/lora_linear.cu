// loraLinear: what the low-rank adapters of the rows add to a linear layer, in two launches. First hidden = x a^T, two warps for each row
// and column of hidden, whose lanes go along the depth; then out += scale hidden b^T, a thread for each element of out. The order of a sum
// depends on depth and rank alone. Rows of one adapter do not share its matrices but through the second cache: they are small, and the
// rows of a decode step have different ones.
#include "lib/reduce.h"
#include "lib/row_packs.h"
#include "lib/row_state.h"
#include "ops/lora.h"

namespace quire {
namespace {

// Warps of a block, and of a column of hidden.
constexpr int kShrinkWarps = 8, kDepthWarps = 2, kShrinkColumns = kShrinkWarps / kDepthWarps;
constexpr int kExpandThreads = 256;

// The sum of the products of two rows, by a thread, of its packs of 16 bytes of W: every `step`-th from `first` on, kAtOnce of each row on
// their way at once. Not `wide`: of its elements.
template <int kAtOnce, class T, class W>
__device__ __forceinline__ float dot(const T* x, const W* weights, int length, int first, int step, bool wide) {
  using Inputs = Beside<T, W>;
  constexpr int kSize = Pack<W>::kSize;
  float sum = 0;
  if (!wide) {
    for (int k = first; k < length; k += step) sum += toFloat(GPU_LOAD(x + k)) * toFloat(GPU_LOAD(weights + k));
    return sum;
  }
  const int packs = length / kSize;
#pragma unroll 1
  for (int pack = first; pack < packs; pack += kAtOnce * step) {
    Pack<W> w[kAtOnce] = {};
    Inputs inputs[kAtOnce] = {};
#pragma unroll
    for (int u = 0; u < kAtOnce; u++) {
      if (pack + u * step < packs) w[u] = GPU_LOAD(reinterpret_cast<const Pack<W>*>(weights) + pack + u * step);
    }
#pragma unroll
    for (int u = 0; u < kAtOnce; u++) {
      if (pack + u * step < packs) inputs[u] = GPU_LOAD(reinterpret_cast<const Inputs*>(x) + pack + u * step);
    }
#pragma unroll
    for (int u = 0; u < kAtOnce; u++) {
#pragma unroll
      for (int i = 0; i < kSize; i++) sum += toFloat(inputs[u].values[i]) * toFloat(w[u].values[i]);
    }
  }
  return sum;
}

template <class T, class W>
__global__ void __launch_bounds__(32 * kShrinkWarps) loraShrinkKernel(const T* x, const uint32_t* adapters, const W* a, float* hidden, int width, int depth, bool wide) {
  SHARED(float, parts, kShrinkWarps);
  launchDependents();
  waitForPrevious();
  const int64_t row = blockIdx.x;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32, part = warp % kDepthWarps;
  const int column = static_cast<int>(blockIdx.y) * kShrinkColumns + warp / kDepthWarps;
  const uint32_t slot = adapters[row];
  if (slot == NONE) return;
  float sum = 0;
  if (column < width) sum = warpSum(dot<8>(x + row * depth, a + (static_cast<int64_t>(slot) * width + column) * depth, depth, 32 * part + lane, 32 * kDepthWarps, wide));
  if (lane == 0) parts[warp] = sum;
  __syncthreads();
  if (lane == 0 && part == 0 && column < width) GPU_STORE(hidden + row * width + column, sum + parts[warp + 1]);
}

template <class T, class W>
__global__ void loraExpandKernel(const float* hidden, const uint32_t* adapters, const W* b, const float* scales, T* out, int columns, int rank, LoraSlices slices, bool wide) {
  launchDependents();
  waitForPrevious();
  const int64_t row = blockIdx.x;
  const int column = static_cast<int>(blockIdx.y) * kExpandThreads + static_cast<int>(threadIdx.x);
  const uint32_t slot = adapters[row];
  if (slot == NONE || column >= columns) return;
  int slice = 0;
  while (column >= slices.end[slice]) slice++;
  const float sum = dot<2>(hidden + (row * slices.count + slice) * rank, b + (static_cast<int64_t>(slot) * columns + column) * rank, rank, 0, 1, wide);
  T* to = out + row * columns + column;
  GPU_STORE(to, fromFloat<T>(toFloat(*to) + scales[static_cast<int64_t>(slot) * slices.count + slice] * sum));
}

// Rows of so many elements are whole packs of W.
template <class W>
bool hasPacks(int length, std::initializer_list<const void*> pointers) {
  bool packs = length % Pack<W>::kSize == 0;
  for (const void* p : pointers) packs &= reinterpret_cast<uintptr_t>(p) % 16 == 0;
  return packs;
}

// Calls f with null pointers of the element types of out and of the adapters.
template <class F>
cudaError_t withElements(const LoraLinear& l, F f) {
  if (l.out.rows == 0) return cudaSuccess;
  return withDType(l.a.dtype, [&](auto* w) { return withDType(l.out.dtype, [&](auto* o) { return f(o, w); }); });
}

}  // namespace

cudaError_t loraShrink(const LoraLinear& l, const Step& s) {
  return withElements(l, [&](auto* o, auto* w) {
    using T = Element<decltype(o)>;
    using W = Element<decltype(w)>;
    const int depth = static_cast<int>(l.x.columns), width = static_cast<int>(l.hidden.columns);
    const GpuLaunch launch{"loraShrink", {static_cast<unsigned>(l.out.rows), ceilDiv(width, kShrinkColumns)}, {32 * kShrinkWarps}, 0, s.stream};
    return gpuLaunch(launch, loraShrinkKernel<T, W>, l.x.as<T>(), l.adapters.as<uint32_t>(), l.a.as<W>(), l.hidden.as<float>(), width, depth, hasPacks<W>(depth, {l.x.data, l.a.data}));
  });
}

cudaError_t loraExpand(const LoraLinear& l, const Step& s) {
  return withElements(l, [&](auto* o, auto* w) {
    using T = Element<decltype(o)>;
    using W = Element<decltype(w)>;
    const int columns = static_cast<int>(l.out.columns), rank = static_cast<int>(l.hidden.columns) / l.slices.count;
    const GpuLaunch launch{"loraExpand", {static_cast<unsigned>(l.out.rows), ceilDiv(columns, kExpandThreads)}, {kExpandThreads}, 0, s.stream};
    return gpuLaunch(launch, loraExpandKernel<T, W>, l.hidden.as<float>(), l.adapters.as<uint32_t>(), l.b.as<W>(), l.scales.as<float>(), l.out.as<T>(), columns, rank, l.slices, hasPacks<W>(rank, {l.hidden.data, l.b.data}));
  });
}

cudaError_t loraLinear(const LoraLinear& l, const Step& s) {
  const cudaError_t shrunk = loraShrink(l, s);
  return shrunk == cudaSuccess ? loraExpand(l, s) : shrunk;
}

}  // namespace quire
