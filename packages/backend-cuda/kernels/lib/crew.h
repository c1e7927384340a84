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
  static __device__ __forceinline__ bool arriveLast(unsigned* counter, unsigned expected, bool* sharedFlag, unsigned parts) { return ::arriveLast(counter, expected, sharedFlag, parts); }
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
  // As arriveLast() of gpu.h.
  static __device__ __forceinline__ bool arriveLast(unsigned* counter, unsigned expected, bool* sharedFlag, unsigned parts) {
    __threadfence();
    sync(__LINE__);
    if (threadIdx.x == 0) {
      *sharedFlag = atomicAdd(counter, parts) + parts == expected;
      if (*sharedFlag) *counter = 0;
    }
    sync(__LINE__);
    __threadfence();
    return *sharedFlag;
  }
};
