// Crews: threads of a block that work together and wait for each other alone.
#pragma once
#include "gpu.h"

// The place in the code is for the emulator.
#define CREW_SYNC(Crew) Crew::sync(__LINE__)

struct WholeBlock {
  static constexpr bool kIsWhole = true;
  static __device__ __forceinline__ void sync([[maybe_unused]] int site) {
#if defined(EMU)
    emu::current->block->barrier(0, 0, site);
#else
    __syncthreads();
#endif
  }
};

// The first kThreads threads, whole warps.
template <int kThreads>
struct FirstThreads {
  static constexpr bool kIsWhole = false;
  static __device__ __forceinline__ void sync([[maybe_unused]] int site) {
#if defined(EMU)
    emu::current->block->barrier(1, kThreads, site);
#else
    asm volatile("bar.sync 1, %0;" ::"n"(kThreads) : "memory");
#endif
  }
};

// Call by all threads of a block, or of a crew that works for it, after their writes. Returns true in the block with which the
// arrivals reach `expected`; a block may arrive for several parts at once. `counter` starts at 0 and is 0 again after the last.
template <class Crew = WholeBlock>
__device__ __forceinline__ bool arriveLast(unsigned* counter, unsigned expected, bool* sharedFlag, unsigned parts = 1) {
  __threadfence();
  CREW_SYNC(Crew);
  if (threadIdx.x == 0) {
    *sharedFlag = atomicAdd(counter, parts) + parts == expected;
    if (*sharedFlag) *counter = 0;
  }
  CREW_SYNC(Crew);
  __threadfence();
  return *sharedFlag;
}
