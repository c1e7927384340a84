// What codes of 8 bits need beside gpu.h and pairs.h: bytes of words, copies of 4 bytes.
#pragma once
#include "pairs.h"

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
