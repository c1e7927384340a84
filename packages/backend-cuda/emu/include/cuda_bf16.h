// bfloat16 over its bits; conversions round to nearest even.
#pragma once
#include <cstdint>

struct __nv_bfloat16 { uint16_t bits; };

inline __nv_bfloat16 __float2bfloat16_rn(float f) {
  uint32_t x;
  __builtin_memcpy(&x, &f, 4);
  if ((x & 0x7fffffff) > 0x7f800000) return {0x7fff};
  return {static_cast<uint16_t>((x + 0x7fff + (x >> 16 & 1)) >> 16)};
}
inline float __bfloat162float(__nv_bfloat16 b) {
  const uint32_t x = static_cast<uint32_t>(b.bits) << 16;
  float f;
  __builtin_memcpy(&f, &x, 4);
  return f;
}
