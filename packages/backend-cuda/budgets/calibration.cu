// Kernels with a known number of instructions, compiled to see whether the machine code is read aright.
#include "kernels/lib/gpu.h"

// One wide load and one wide store.
extern "C" __global__ void calibrateWide(const uint4* from, uint4* to) { to[threadIdx.x] = from[threadIdx.x]; }

// One load and one store of 4 bytes.
extern "C" __global__ void calibrateNarrow(const unsigned* from, unsigned* to) { to[threadIdx.x] = from[threadIdx.x]; }

// Four wide loads in flight, then four more in their turn.
extern "C" __global__ void calibrateInFlight(const uint4* from, uint4* to, int count) {
  uint4 sum{0, 0, 0, 0};
#pragma unroll 1
  for (int i = 0; i < count; i++) {
    uint4 v[4];
#pragma unroll
    for (int j = 0; j < 4; j++) v[j] = from[(i * 4 + j) * 32 + threadIdx.x];
#pragma unroll
    for (int j = 0; j < 4; j++) sum.x += v[j].x, sum.y ^= v[j].y, sum.z += v[j].z, sum.w ^= v[j].w;
  }
  to[threadIdx.x] = sum;
}

// Two asynchronous copies, one matrix load and one tensor-core instruction.
extern "C" __global__ void calibrateTensor(const uint4* from, float* to) {
  SHARED(uint4, tile, 64);
  cpAsync16(tile + threadIdx.x, from + threadIdx.x);
  cpAsync16(tile + 32 + threadIdx.x, from + 32 + threadIdx.x);
  cpAsyncCommit();
  cpAsyncWait<0>();
  __syncthreads();
  uint32_t a[4], b[2];
  ldmatrixX4<false>(a, tile + threadIdx.x);
  b[0] = a[1], b[1] = a[2];
  float d[4] = {};
  mma16816<__half>(d, a, b);
  for (int i = 0; i < 4; i++) to[i * 32 + threadIdx.x] = d[i];
}

// An array that must lie in local memory.
extern "C" __global__ void calibrateLocal(const unsigned* from, unsigned* to) {
  unsigned values[32] = {};
#pragma unroll 1
  for (int i = 0; i < 64; i++) values[from[i] & 31] += i;
  to[0] = values[from[64 + threadIdx.x] & 31];
}
