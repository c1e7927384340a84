// Radix select within a block: the threshold at which weights, added from the largest value down, reach a goal. Weights are
// integers, so that no sum depends on an order.
#pragma once
#include "../lib/vocabulary.h"

namespace quire {

// The inclusive prefix sum of x over the block, whole warps of it. `scratch` holds 32 words of shared memory.
__device__ __forceinline__ uint32_t blockPrefix(uint32_t x, uint32_t* scratch) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
  for (int by = 1; by < 32; by *= 2) {
    const uint32_t before = __shfl_up_sync(kFullMask, x, by);
    if (lane >= by) x += before;
  }
  __syncthreads();  // the last use of scratch is over
  if (lane == 31) scratch[warp] = x;
  __syncthreads();
  uint32_t total = lane < warps ? scratch[lane] : 0;
  for (int by = 1; by < 32; by *= 2) {
    const uint32_t before = __shfl_up_sync(kFullMask, total, by);
    if (lane >= by) total += before;
  }
  const uint32_t before = __shfl_sync(kFullMask, total, warp > 0 ? warp - 1 : 0);
  return warp > 0 ? x + before : x;
}

// Where a goal is reached: in which bin, and the sum in front of that bin.
struct Crossing {
  uint32_t bin, before;
};

// The first bin at which the sum of bins 0 .. bin reaches `goal`, or the last one. Bins are 2 per thread at most.
// `scratch` holds 34 words of shared memory. The result is in every thread.
__device__ __forceinline__ Crossing findCrossing(const uint32_t* bins, int count, uint32_t goal, uint32_t* scratch) {
  const int first = 2 * threadIdx.x;
  if (threadIdx.x == 0) scratch[32] = count - 1, scratch[33] = 0;
  const uint32_t a = first < count ? bins[first] : 0, b = first + 1 < count ? bins[first + 1] : 0;
  const uint32_t upTo = blockPrefix(a + b, scratch), before = upTo - a - b;
  if (before < goal && upTo >= goal) {
    const bool inFirst = before + a >= goal;
    scratch[32] = inFirst ? first : first + 1;
    scratch[33] = inFirst ? before : before + a;
  }
  __syncthreads();
  const Crossing crossing{scratch[32], scratch[33]};
  __syncthreads();
  return crossing;
}

constexpr int kDigits = 256;

// The largest value t for which the weights of values >= t reach `goal`, which the weights of all must. forEach(f) calls f(x)
// for this thread's share of the values. `bins` holds kDigits words of shared memory, `scratch` 34.
template <class ForEach, class WeightOf>
__device__ float selectThreshold(ForEach forEach, WeightOf weightOf, uint32_t goal, uint32_t* bins, uint32_t* scratch) {
  uint32_t prefix = 0;
#pragma unroll 1
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (int b = threadIdx.x; b < kDigits; b += blockDim.x) bins[b] = 0;
    __syncthreads();
    const uint32_t mask = shift == 24 ? 0 : 0xffffffffu << (shift + 8);
    forEach([&](float x) {
      const uint32_t bits = orderedBits(x);
      // Bins run from the largest digit down.
      if ((bits & mask) == prefix) atomicAdd(bins + (kDigits - 1 - (bits >> shift & 0xff)), weightOf(x));
    });
    __syncthreads();
    const Crossing crossing = findCrossing(bins, kDigits, goal, scratch);
    prefix |= (kDigits - 1 - crossing.bin) << shift;
    goal -= crossing.before;
  }
  return fromOrderedBits(prefix);
}

}  // namespace quire
