// KV caches in codes of 8 bits: value = scale code, with one scale for each vector of a head, [block][kvHead][slot].
#pragma once
#include <type_traits>

#include "paged.h"

namespace quire {

struct I8Code {
  static constexpr float kLargest = 127;
  int8_t bits;
};
// OCP E4M3: sign, 4 bits of exponent with a bias of 7, 3 of mantissa.
struct E4m3Code {
  static constexpr float kLargest = 448;
  uint8_t bits;
};
template <class C>
constexpr bool kHoldsCodes = std::is_same_v<std::remove_const_t<C>, I8Code> || std::is_same_v<std::remove_const_t<C>, E4m3Code>;

__device__ __forceinline__ float toFloat(I8Code c) { return c.bits; }
// Exponent and mantissa lie where an f32 has them, but for the bias; codes of exponent 0 pass through subnormals.
__device__ __forceinline__ float toFloat(E4m3Code c) {
  const uint32_t bits = c.bits;
  return __uint_as_float((bits & 0x80) << 24 | (bits & 0x7f) << 20) * 0x1p120f;
}

// A cache as kernels take it: of values, a pointer; of codes, with the scales, whose index is that of the cache's row.
template <class C, bool kScaled = kHoldsCodes<C>>
struct KvCache {
  C* data;
};
template <class C>
struct KvCache<C, true> {
  C* data;
  float* scales;
};
template <class C>
KvCache<C> kvCache(const Tensor& cache, const Tensor& scales) {
  if constexpr (kHoldsCodes<C>) return {cache.as<C>(), scales.as<float>()};
  else return {cache.as<C>()};
}

// Calls f with a null pointer of the element type of a cache of codes.
template <class F>
cudaError_t withCodes(DType dtype, F f) {
  return dtype == DType::i8 ? f(static_cast<I8Code*>(nullptr)) : f(static_cast<E4m3Code*>(nullptr));
}
inline bool holdsCodes(const Tensor& cache) { return cache.dtype == DType::i8 || cache.dtype == DType::f8e4m3; }
// The same of any cache.
template <class F>
cudaError_t withCacheDType(DType dtype, F f) {
  return dtype == DType::i8 || dtype == DType::f8e4m3 ? withCodes(dtype, f) : withDType(dtype, f);
}

// The bits of |x|: as integers they are in the order of the magnitudes, and NaN is the largest.
__device__ __forceinline__ uint32_t magnitudeBits(float x) { return __float_as_uint(x) & 0x7fffffff; }
__device__ __forceinline__ float magnitudeOf(uint32_t bits) { return __uint_as_float(bits); }
__device__ __forceinline__ uint32_t largerMagnitude(uint32_t bits, float x) { return magnitudeBits(x) > bits ? magnitudeBits(x) : bits; }

// The codes of one vector: scale = largest magnitude / largest code, and the codes nearest to value / scale, ties to even. They
// are those of exact quotients: an approximate one gives a code, and the remainder, which f32 holds exactly, says whether its
// neighbour is nearer. A vector that is not finite has a scale that is not, and codes 0.
template <class C>
class VectorCodes {
 public:
  const float scale;

  __device__ __forceinline__ explicit VectorCodes(uint32_t largestBits)
      : scale(magnitudeOf(largestBits) / C::kLargest), usable_(scale > 0 && scale < INFINITY), lift_(scale < 0x1p-64f ? 0x1p64f : 1.0f), lifted_(scale * lift_), inverse_(1.0f / lifted_) {}

  __device__ __forceinline__ C operator()(float value) const {
    if (!usable_) return {0};
    const float lifted = value * lift_, quotient = lifted * inverse_, step = stepAt(quotient);
    float steps = rintf(quotient / step);
    const float unit = step * lifted_, rest = __fmaf_rn(-steps, unit, lifted), half = 0.5f * unit;
    if (fabsf(rest) > half || (fabsf(rest) == half && static_cast<int>(steps) % 2 != 0)) steps += copysignf(1.0f, rest);
    return codeOf(value, quotient, steps);
  }

 private:
  // E4M3 has eight steps to a power of two, the smallest being 2^-6.
  __device__ static int exponentOf(float quotient) {
    const int exponent = static_cast<int>(magnitudeBits(quotient) >> 23) - 127;
    return exponent < -6 ? -6 : exponent;
  }
  __device__ static float stepAt(float quotient) {
    if constexpr (std::is_same_v<C, I8Code>) return 1;
    else return __uint_as_float(static_cast<uint32_t>(exponentOf(quotient) - 3 + 127) << 23);
  }
  __device__ static C codeOf(float value, float quotient, float steps) {
    if constexpr (std::is_same_v<C, I8Code>) {
      return {static_cast<int8_t>(fminf(fmaxf(steps, -C::kLargest), C::kLargest))};
    } else {
      const int code = (exponentOf(quotient) + 6) * 8 + static_cast<int>(fabsf(steps));
      return {static_cast<uint8_t>((__float_as_uint(value) >> 24 & 0x80) | (code < 0x7e ? code : 0x7e))};
    }
  }

  // A small scale is lifted with its values, so that no remainder is subnormal.
  const bool usable_;
  const float lift_, lifted_, inverse_;
};

}  // namespace quire
