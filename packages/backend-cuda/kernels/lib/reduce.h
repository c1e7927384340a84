// Reductions over a warp and over a block. Their order is fixed, so a row's result does not depend on other rows.
#pragma once
#include "gpu.h"

namespace quire {

__device__ __forceinline__ float warpSum(float x) {
  for (int by = 16; by > 0; by /= 2) x += __shfl_xor_sync(kFullMask, x, by);
  return x;
}
__device__ __forceinline__ float warpMax(float x) {
  for (int by = 16; by > 0; by /= 2) x = fmaxf(x, __shfl_xor_sync(kFullMask, x, by));
  return x;
}

// The sums of kCount values over the warp, kCount a power of two up to 32: lane l gets that of value l / (32 / kCount). Each is
// added in the order of warpSum, with kCount - 1 + log2(32 / kCount) exchanges for all of them.
template <int kCount, int kBy = 16>
__device__ __forceinline__ float warpSums(const float (&values)[kCount]) {
  if constexpr (kCount == 1) {
    float x = values[0];
#pragma unroll
    for (int by = kBy; by > 0; by /= 2) x += __shfl_xor_sync(kFullMask, x, by);
    return x;
  } else {
    const bool upper = threadIdx.x & kBy;
    float half[kCount / 2];
#pragma unroll
    for (int i = 0; i < kCount / 2; i++) {
      const float keep = upper ? values[i + kCount / 2] : values[i], give = upper ? values[i] : values[i + kCount / 2];
      half[i] = keep + __shfl_xor_sync(kFullMask, give, kBy);
    }
    return warpSums<kCount / 2, kBy / 2>(half);
  }
}

// The sum over all threads of a block of whole warps, in every thread. `scratch` holds 32 floats of shared memory.
__device__ __forceinline__ float blockSum(float x, float* scratch) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
  x = warpSum(x);
  __syncthreads();  // the last use of scratch is over
  if (lane == 0) scratch[warp] = x;
  __syncthreads();
  return warpSum(lane < warps ? scratch[lane] : 0.0f);
}

// The same with one barrier, for a block of at most 16 warps. `scratch` holds 16 floats that serve this one sum.
__device__ __forceinline__ float blockSumOnce(float x, float* scratch) {
  const int warp = threadIdx.x / 32, warps = blockDim.x / 32;
  x = warpSum(x);
  if (threadIdx.x % 32 == 0) scratch[warp] = x;
  if (threadIdx.x < 16 && static_cast<int>(threadIdx.x) >= warps) scratch[threadIdx.x] = 0;
  __syncthreads();
  float4 quads[4];
#pragma unroll
  for (int i = 0; i < 4; i++) quads[i] = reinterpret_cast<const float4*>(scratch)[i];
  float sums[4];
#pragma unroll
  for (int i = 0; i < 4; i++) sums[i] = (quads[i].x + quads[i].y) + (quads[i].z + quads[i].w);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// A value and where it stands; larger values win, and of equal ones the lower index.
struct ValueIndex {
  float value;
  unsigned index;
};
__device__ __forceinline__ ValueIndex better(ValueIndex a, ValueIndex b) {
  return b.value > a.value || (b.value == a.value && b.index < a.index) ? b : a;
}
__device__ __forceinline__ ValueIndex warpBest(ValueIndex x) {
  for (int by = 16; by > 0; by /= 2) {
    const ValueIndex other{__shfl_xor_sync(kFullMask, x.value, by), __shfl_xor_sync(kFullMask, x.index, by)};
    x = better(x, other);
  }
  return x;
}
// `values` and `indices` hold 32 entries of shared memory each. The result is in every thread.
__device__ __forceinline__ ValueIndex blockBest(ValueIndex x, float* values, unsigned* indices) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
  x = warpBest(x);
  __syncthreads();
  if (lane == 0) values[warp] = x.value, indices[warp] = x.index;
  __syncthreads();
  const ValueIndex mine = lane < warps ? ValueIndex{values[lane], indices[lane]} : ValueIndex{-INFINITY, 0xffffffffu};
  return warpBest(mine);
}

}  // namespace quire
