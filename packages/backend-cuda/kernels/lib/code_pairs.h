// What codes of 8 bits need beside gpu.h: bytes of words, exact arithmetic on pairs of 16-bit elements, copies of 4 bytes.
#pragma once
#include "gpu.h"

// Byte i of the result is byte (selector >> 4 i) & 7 of the eight bytes of low, then high.
__device__ __forceinline__ uint32_t permuteBytes(uint32_t low, uint32_t high, uint32_t selector) {
#if defined(EMU)
  uint32_t result = 0;
  for (int i = 0; i < 4; i++) {
    const uint32_t from = selector >> 4 * i & 7;
    result |= ((from < 4 ? low : high) >> from % 4 * 8 & 0xff) << 8 * i;
  }
  return result;
#else
  return __byte_perm(low, high, selector);
#endif
}

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

// 4 bytes from global to shared memory, zeros unless `valid`; a part of the same groups as cpAsync16.
__device__ __forceinline__ void cpAsync4(void* shared, const void* global, bool valid) {
#if defined(EMU)
  if (valid) emu::recordAccess(emu::RequestLog::Kind::load, 0, global, 4);
  emu::asyncCopy(shared, global, 4, valid ? 4 : 0);
#else
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(address), "l"(global), "r"(valid ? 4 : 0) : "memory");
#endif
}
