// groupedLinear: the linear layers of the experts of each row. One warp per row and output column (and expert, where they stand side by
// side): its lanes go along the depth, eight columns at a time, so the order of a sum depends on the depth alone. Rows of one expert do
// not share its weights: right for the few rows of a decode step, whose experts differ; many rows read them again from the second cache.
//
// The gated layers of few rows choose their experts themselves where moeRoute stands in front: every warp that of its own place, from
// logits in the first cache, and one of a row writes down all of them.
//
// Neighbouring lanes read neighbouring columns: of codes, 4 or 8 bytes each, beside 16 bytes or more of x, which lies in the first cache.
#include "lib/expert_choice.h"
#include "lib/quantized.h"
#include "ops/moe.h"

namespace quire {
namespace {

constexpr int kColumnsPerBlock = 8;

// to[i] = from[i], i < 8, and 0 from `left` on. `wide`: 16 bytes can be read at once.
template <class T>
__device__ __forceinline__ void load8(float (&to)[8], const T* from, int left, bool wide) {
  constexpr int kSize = Pack<T>::kSize;
  if (wide) {
#pragma unroll
    for (int i = 0; i < 8; i += kSize) {
      const Pack<T> pack = GPU_LOAD(reinterpret_cast<const Pack<T>*>(from + i));
#pragma unroll
      for (int j = 0; j < kSize; j++) to[i + j] = toFloat(pack.values[j]);
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; i++) to[i] = i < left ? toFloat(GPU_LOAD(from + i)) : 0.0f;
}

// The rows of a weight of `depth` columns. `wide` is said of x too.
template <class W>
struct FloatRows {
  const W* data;
  int depth;
  bool wide;
  __device__ __forceinline__ void load(float (&to)[8], int64_t row, int column) const { load8(to, data + row * depth + column, depth - column, wide); }
};
template <class F>
struct CodeRows {
  const char* data;
  int depth;
  bool wide;
  QuantRecord record;
  __device__ __forceinline__ void load(float (&to)[8], int64_t row, int column) const { dequantize8<F>(to, data + row * record.bytes, record, column); }
};

template <class T, class Rows>
__device__ __forceinline__ float product(const T* x, const Rows& rows, int64_t row, int lane) {
  float sum = 0;
#pragma unroll 4
  for (int column = 8 * lane; column < rows.depth; column += 8 * 32) {
    float values[8], weights[8];
    rows.load(weights, row, column);
    load8(values, x + column, rows.depth - column, rows.wide);
#pragma unroll
    for (int i = 0; i < 8; i++) sum += values[i] * weights[i];
  }
  return warpSum(sum);
}

// What moeRoute works on; no logits, it has its own launch.
struct Route {
  const float* logits;
  uint32_t* experts;
  float* shares;
  int count;
  bool normalize;
};

// The expert at place `place` of a row. The row's first warp writes down all of them. By all lanes of a warp.
__device__ __forceinline__ unsigned chosenExpert(const Route& route, int64_t row, int place, int chosen, bool isFirst) {
  const float* const logits = route.logits + row * route.count;
  if (isFirst) routeRow(logits, route.experts + row * chosen, route.shares + row * chosen, route.count, chosen, route.normalize);
  unsigned expert = 0;
  chooseExperts(logits, route.count, place + 1, [&](int, ValueIndex best) { expert = best.index; });
  return expert;
}

template <class T, class Rows>
__global__ void gatedExperts(const T* x, const uint32_t* experts, Route route, Rows weight, T* out, int chosen, int columns, unsigned firstExpert, unsigned count, Activation activation) {
  launchDependents();
  waitForPrevious();
  const int64_t block = blockIdx.x;
  const int column = static_cast<int>(blockIdx.y) * kColumnsPerBlock + static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int place = static_cast<int>(block % chosen);
  const unsigned expert = (route.logits == nullptr ? experts[block] : chosenExpert(route, block / chosen, place, chosen, place == 0 && column == 0)) - firstExpert;
  if (expert >= count || column >= columns) return;
  const T* row = x + block / chosen * weight.depth;
  const int64_t gates = static_cast<int64_t>(expert) * 2 * columns + column;
  const float gate = product(row, weight, gates, lane), up = product(row, weight, gates + columns, lane);
  if (lane == 0) GPU_STORE(out + block * columns + column, fromFloat<T>(activate(activation, gate) * up));
}

template <class T, class Rows>
__global__ void summedExperts(const T* x, const uint32_t* experts, Rows weight, const float* shares, const T* residual, T* out, int chosen, int columns, unsigned firstExpert, unsigned count) {
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
    total += shares[block] * product(x + block * weight.depth, weight, static_cast<int64_t>(expert) * columns + column, lane);
  }
  const int64_t at = row * columns + column;
  if (lane == 0) GPU_STORE(out + at, fromFloat<T>(residual == nullptr ? total : total + toFloat(residual[at])));
}

// Calls f with the rows of the weight.
template <class F>
cudaError_t withRows(const GroupedLinear& a, F f) {
  const int depth = static_cast<int>(a.weight.columns);
  auto aligned = [](const Tensor& t) { return reinterpret_cast<uintptr_t>(t.data) % 16 == 0; };
  const bool wide = depth % 8 == 0 && aligned(a.x) && aligned(a.weight);
  if (isQuantized(a.weight.dtype)) {
    return withQuantFormat(a.weight.dtype, [&](auto format) { return f(CodeRows<decltype(format)>{a.weight.as<char>(), depth, wide, recordOf(a.weight.dtype, depth)}); });
  }
  return withDType(a.weight.dtype, [&](auto* w) {
    using W = Element<decltype(w)>;
    return f(FloatRows<W>{a.weight.as<W>(), depth, wide});
  });
}

}  // namespace

namespace {

cudaError_t launch(const GroupedLinear& a, const Route& route, const Step& s) {
  if (a.out.rows == 0) return cudaSuccess;
  const int chosen = static_cast<int>(a.experts.columns), columns = static_cast<int>(a.out.columns) / (a.shares ? 1 : chosen);
  const auto first = static_cast<unsigned>(a.firstExpert), count = static_cast<unsigned>(a.weight.rows / (a.shares ? columns : 2 * columns));
  const unsigned blocks = static_cast<unsigned>(a.out.rows) * (a.shares ? 1 : chosen);
  const GpuLaunch l{"groupedLinear", {blocks, ceilDiv(columns, kColumnsPerBlock)}, {32 * kColumnsPerBlock}, 0, s.stream};
  return withRows(a, [&](const auto& weight) {
    return withDType(a.out.dtype, [&](auto* o) {
      using T = Element<decltype(o)>;
      using Rows = std::decay_t<decltype(weight)>;
      const T* x = a.x.as<T>();
      const auto* experts = a.experts.as<uint32_t>();
      if (a.shares) return gpuLaunch(l, summedExperts<T, Rows>, x, experts, weight, a.shares.as<float>(), a.residual.as<T>(), a.out.as<T>(), chosen, columns, first, count);
      return gpuLaunch(l, gatedExperts<T, Rows>, x, experts, route, weight, a.out.as<T>(), chosen, columns, first, count, a.activation);
    });
  });
}

}  // namespace

cudaError_t groupedLinear(const GroupedLinear& a, const Step& s) { return launch(a, {}, s); }

cudaError_t routedGroupedLinear(const MoeRoute& r, const GroupedLinear& a, const Step& s) {
  return launch(a, {r.logits.as<float>(), r.experts.as<uint32_t>(), r.shares.as<float>(), static_cast<int>(r.logits.columns), r.normalize}, s);
}

}  // namespace quire
