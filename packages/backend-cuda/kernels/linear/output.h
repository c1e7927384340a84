// From sums to the output, for every form of linear: bias, activation, residual or gate, rounding to the output's dtype.
#pragma once
#include "../lib/with_element.h"
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

// values[i] = activation(values[i]). The choice lies outside of the loop: kernels that unroll this stay small.
template <int kCount>
__device__ __forceinline__ void activateAll(Activation a, float (&values)[kCount]) {
  auto apply = [&](auto f) {
#pragma unroll
    for (int i = 0; i < kCount; i++) values[i] = f(values[i]);
  };
  if (a == Activation::relu) apply([](float x) { return activate(Activation::relu, x); });
  if (a == Activation::silu) apply([](float x) { return activate(Activation::silu, x); });
  if (a == Activation::gelu) apply([](float x) { return activate(Activation::gelu, x); });
  if (a == Activation::geluTanh) apply([](float x) { return activate(Activation::geluTanh, x); });
}

// Stores kCount columns from `column` on (with kCount 4: a multiple of 4), those beyond n excepted, from their sums and, when
// gated, those of their up rows. Both arrays are used up.
template <int kCount>
__device__ __forceinline__ void storeOutput(const LinearOutput& o, int row, int column, float (&sums)[kCount], float (&ups)[kCount]) {
  const int64_t to = static_cast<int64_t>(row) * o.stride + o.outColumn + column;
  const bool whole = kCount == 4 && o.wide && column + kCount <= o.n;
  if (o.bias != nullptr) {
    withElement(o.biasDType, [&](auto* t) {
      const auto* bias = static_cast<const Element<decltype(t)>*>(o.bias);
#pragma unroll
      for (int i = 0; i < kCount; i++) {
        if (column + i >= o.n) break;
        sums[i] += toFloat(bias[column + i]);
        if (o.gated) ups[i] += toFloat(bias[o.n + column + i]);
      }
    });
  }
  activateAll(o.activation, sums);
#pragma unroll
  for (int i = 0; i < kCount; i++) sums[i] = o.gated ? sums[i] * ups[i] : sums[i];
  withElement(o.dtype, [&](auto* t) {
    using T = Element<decltype(t)>;
    const T* residual = o.residual == nullptr ? nullptr : static_cast<const T*>(o.residual) + to;
    T* out = static_cast<T*>(o.out) + to;
    Quad<T> quad;
    if (residual != nullptr) {
      if (whole) quad = *reinterpret_cast<const Quad<T>*>(residual);
#pragma unroll
      for (int i = 0; i < kCount; i++) {
        if (column + i < o.n) sums[i] += toFloat(whole ? quad.values[i] : residual[i]);
      }
    }
#pragma unroll
    for (int i = 0; i < kCount; i++) quad.values[i] = fromFloat<T>(sums[i]);
    if (whole) {
      GPU_STORE(reinterpret_cast<Quad<T>*>(out), quad);
      return;
    }
#pragma unroll
    for (int i = 0; i < kCount; i++) {
      if (column + i < o.n) GPU_STORE(out + i, quad.values[i]);
    }
  });
}

}  // namespace quire
