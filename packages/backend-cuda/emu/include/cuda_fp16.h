// Half precision over its bits; conversions round to nearest even, as the hardware's do.
#pragma once
#include <cstdint>

struct __half { uint16_t bits; };

namespace emu {
inline uint16_t halfFromFloat(float value) {
  uint32_t x;
  __builtin_memcpy(&x, &value, 4);
  const uint32_t sign = x >> 16 & 0x8000;
  x &= 0x7fffffff;
  if (x > 0x7f800000) return static_cast<uint16_t>(0x7fff);
  if (x >= 0x47800000) return static_cast<uint16_t>(sign | 0x7c00);
  if (x < 0x38800000) {  // subnormal: let the addition of 0.5 round it
    float magnitude;
    __builtin_memcpy(&magnitude, &x, 4);
    magnitude += 0.5f;
    uint32_t y;
    __builtin_memcpy(&y, &magnitude, 4);
    return static_cast<uint16_t>(sign | (y - 0x3f000000));
  }
  const uint32_t rounded = x + 0xfff + (x >> 13 & 1) - 0x38000000;
  return static_cast<uint16_t>(sign | rounded >> 13);
}
inline float halfToFloat(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16, rest = h & 0x7fff;
  uint32_t x;
  if (rest >= 0x7c00) x = sign | 0x7f800000 | (rest & 0x3ff) << 13;
  else if (rest >= 0x400) x = sign | ((rest << 13) + 0x38000000);
  else {
    const float magnitude = static_cast<float>(rest) * 5.9604644775390625e-8f;  // 2^-24
    __builtin_memcpy(&x, &magnitude, 4);
    x |= sign;
  }
  float f;
  __builtin_memcpy(&f, &x, 4);
  return f;
}
}  // namespace emu

inline __half __float2half_rn(float f) { return {emu::halfFromFloat(f)}; }
inline float __half2float(__half h) { return emu::halfToFloat(h.bits); }
