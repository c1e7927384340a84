// The lane of a thread, found anew.
#pragma once
#include "gpu.h"

// What depends on it is computed here, even if it was before: nothing of that takes a register in between.
__device__ __forceinline__ int laneAnew() {
  int lane = static_cast<int>(threadIdx.x % 32);
#if !defined(EMU)
  asm volatile("" : "+r"(lane));
#endif
  return lane;
}
