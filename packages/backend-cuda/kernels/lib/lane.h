// The lane of a thread, found anew.
#pragma once
#include "gpu.h"

// What depends on it is computed here, even if it was before: nothing of that takes a register in between.
__device__ __forceinline__ int threadAnew() {
  int thread = static_cast<int>(threadIdx.x);
#if !defined(EMU)
  asm volatile("" : "+r"(thread));
#endif
  return thread;
}
__device__ __forceinline__ int laneAnew() { return threadAnew() % 32; }
