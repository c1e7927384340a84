// Arithmetic on two 16-bit floats in one register.
#pragma once
#include "gpu.h"

// Two numbers of T = __half or __nv_bfloat16, each less its neighbour in b, rounded to nearest.
template <class T>
__device__ __forceinline__ uint32_t subtractPairs(uint32_t a, uint32_t b) {
#if defined(EMU)
  auto at = [](uint32_t pair, int i) {
    const T value{static_cast<uint16_t>(pair >> 16 * i)};
    if constexpr (__is_same(T, __half)) return __half2float(value);
    else return __bfloat162float(value);
  };
  return packPair<T>(at(a, 0) - at(b, 0), at(a, 1) - at(b, 1));
#else
  if constexpr (__is_same(T, __half)) {
    const __half2 difference = __hsub2(reinterpret_cast<const __half2&>(a), reinterpret_cast<const __half2&>(b));
    return reinterpret_cast<const uint32_t&>(difference);
  } else {
    const __nv_bfloat162 difference = __hsub2(reinterpret_cast<const __nv_bfloat162&>(a), reinterpret_cast<const __nv_bfloat162&>(b));
    return reinterpret_cast<const uint32_t&>(difference);
  }
#endif
}
