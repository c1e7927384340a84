// Arithmetic on two 16-bit floats, T = __half or __nv_bfloat16, in one register.
#pragma once
#include "gpu.h"

#if defined(EMU)
namespace emu {
template <class T>
float halfOfPair(uint32_t pair, int half) {
  const T element{static_cast<uint16_t>(pair >> 16 * half)};
  if constexpr (__is_same(T, __half)) return __half2float(element);
  else return __bfloat162float(element);
}
}  // namespace emu
#endif

// Products of two pairs of T = __half or __nv_bfloat16, rounded.
template <class T>
__device__ __forceinline__ uint32_t multiplyPairs(uint32_t a, uint32_t b) {
#if defined(EMU)
  return packPair<T>(emu::halfOfPair<T>(a, 0) * emu::halfOfPair<T>(b, 0), emu::halfOfPair<T>(a, 1) * emu::halfOfPair<T>(b, 1));
#else
  if constexpr (__is_same(T, __half)) {
    const __half2 product = __hmul2(reinterpret_cast<const __half2&>(a), reinterpret_cast<const __half2&>(b));
    return reinterpret_cast<const uint32_t&>(product);
  } else {
    const __nv_bfloat162 product = __hmul2(reinterpret_cast<const __nv_bfloat162&>(a), reinterpret_cast<const __nv_bfloat162&>(b));
    return reinterpret_cast<const uint32_t&>(product);
  }
#endif
}

// Differences of two pairs of T, rounded.
template <class T>
__device__ __forceinline__ uint32_t subtractPairs(uint32_t a, uint32_t b) {
#if defined(EMU)
  return packPair<T>(emu::halfOfPair<T>(a, 0) - emu::halfOfPair<T>(b, 0), emu::halfOfPair<T>(a, 1) - emu::halfOfPair<T>(b, 1));
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
