// From sums to the output, for every form of linear: bias, activation, residual or gate, rounding to the output's dtype.
#pragma once
#include "../lib/elements.h"
#include "variants.h"

namespace quire {

// The dtypes are looked at per element: an output is one element in K, and the forms are spared a copy per dtype.
struct LinearOutput {
  void* out;
  const void* bias;
  const void* residual;
  DType dtype, biasDType;
  Activation activation;
  bool gated;
  // Four columns that begin at a multiple of 4 can be written at once.
  bool wide;
  int rows, n, stride, outColumn;
};

inline LinearOutput makeOutput(const LinearProblem& p) {
  const int stride = static_cast<int>(p.out.columns);
  auto aligned = [](const void* d) { return reinterpret_cast<uintptr_t>(d) % 16 == 0; };
  const bool wide = stride % 4 == 0 && p.outColumn % 4 == 0 && aligned(p.out.data) && aligned(p.residual.data);
  return {p.out.data, p.bias.data, p.residual.data, p.out.dtype, p.bias.dtype, p.activation, p.gated, wide, p.rows(), p.n(), stride, p.outColumn};
}

template <class T>
struct alignas(4 * sizeof(T)) Quad {
  T values[4];
};

// Calls f with a null pointer of the element type, on the device.
template <class F>
__device__ __forceinline__ void withElement(DType dtype, F f) {
  if (dtype == DType::f16) f(static_cast<__half*>(nullptr));
  else if (dtype == DType::bf16) f(static_cast<__nv_bfloat16*>(nullptr));
  else f(static_cast<float*>(nullptr));
}

// The value of output column `column` before the residual, from its sum (the gate's, with that of the up row).
__device__ __forceinline__ float outputValue(const LinearOutput& o, int column, float sum, float up) {
  if (o.bias != nullptr) {
    withElement(o.biasDType, [&](auto* t) {
      const auto* bias = static_cast<decltype(t)>(const_cast<void*>(o.bias));
      sum += toFloat(bias[column]);
      if (o.gated) up += toFloat(bias[o.n + column]);
    });
  }
  const float y = activate(o.activation, sum);
  return o.gated ? y * up : y;
}

// One element; `row` and `column` lie within the output.
__device__ __forceinline__ void storeOutput(const LinearOutput& o, int row, int column, float sum, float up) {
  const int64_t to = static_cast<int64_t>(row) * o.stride + o.outColumn + column;
  float y = outputValue(o, column, sum, up);
  withElement(o.dtype, [&](auto* t) {
    using T = Element<decltype(t)>;
    if (o.residual != nullptr) y += toFloat(static_cast<const T*>(o.residual)[to]);
    GPU_STORE(static_cast<T*>(o.out) + to, fromFloat<T>(y));
  });
}

// Four columns from `column`, a multiple of 4, on; those beyond n are left out.
__device__ __forceinline__ void storeQuad(const LinearOutput& o, int row, int column, const float (&sums)[4], const float (&ups)[4]) {
  if (!o.wide || column + 4 > o.n) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (column + i < o.n) storeOutput(o, row, column + i, sums[i], ups[i]);
    }
    return;
  }
  const int64_t to = static_cast<int64_t>(row) * o.stride + o.outColumn + column;
  float y[4];
#pragma unroll
  for (int i = 0; i < 4; i++) y[i] = outputValue(o, column + i, sums[i], ups[i]);
  withElement(o.dtype, [&](auto* t) {
    using T = Element<decltype(t)>;
    if (o.residual != nullptr) {
      const auto added = *reinterpret_cast<const Quad<T>*>(static_cast<const T*>(o.residual) + to);
#pragma unroll
      for (int i = 0; i < 4; i++) y[i] += toFloat(added.values[i]);
    }
    Quad<T> result;
#pragma unroll
    for (int i = 0; i < 4; i++) result.values[i] = fromFloat<T>(y[i]);
    GPU_STORE(reinterpret_cast<Quad<T>*>(static_cast<T*>(o.out) + to), result);
  });
}

}  // namespace quire
