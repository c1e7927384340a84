// Both operands lie in shared memory as rows of 64 elements, whose eight 16-byte chunks are swizzled by the row so that
// ldmatrix meets no bank twice. All warps of a block read the same tiles.
#include "mma-kernels.h"

#include "kernels/lib/gpu.h"

namespace {
constexpr int kDepth = 64, kChunks = kDepth / 8;

__device__ __forceinline__ int swizzled(int row, int chunk) { return (row * kChunks + (chunk ^ (row & 7))) * 8; }

template <int kTiles>
__device__ __forceinline__ void loadA(uint32_t (&a)[kTiles][4], const uint16_t* tile, int step, int lane) {
#pragma unroll
  for (int i = 0; i < kTiles; i++) ldmatrixX4<false>(a[i], tile + swizzled(16 * i + lane % 16, 2 * step + lane / 16));
}
// Two fragments of b, for columns 0 to 7 and 8 to 15.
template <int kTiles>
__device__ __forceinline__ void loadB(uint32_t (&b)[kTiles][4], const uint16_t* tile, int step, int lane) {
#pragma unroll
  for (int i = 0; i < kTiles; i++) ldmatrixX4<false>(b[i], tile + swizzled(16 * i + lane % 8 + lane / 16 * 8, 2 * step + lane / 8 % 2));
}

template <int kM, int kN>
__device__ __forceinline__ void multiply(float (&d)[kM][2 * kN][4], const uint32_t (&a)[kM][4], const uint32_t (&b)[kN][4]) {
#pragma unroll
  for (int m = 0; m < kM; m++) {
#pragma unroll
    for (int n = 0; n < 2 * kN; n++) {
      const uint32_t half[2] = {b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]};
      mma16816<__nv_bfloat16>(d[m][n], a[m], half);
    }
  }
}

template <int kM, int kN, bool kFromShared>
__global__ void tensorLoop(const uint16_t* values, float* out, int iterations) {
  DYN_SHARED(uint16_t, tileA);
  uint16_t* tileB = tileA + 16 * kM * kDepth;
  for (int i = threadIdx.x; i < 16 * (kM + kN) * kDepth; i += blockDim.x) tileA[swizzled(i / kDepth, i / 8 % kChunks) + i % 8] = values[i];
  __syncthreads();
  const int lane = threadIdx.x % 32;
  uint32_t a[kM][4], b[kN][4];
  float d[kM][2 * kN][4] = {};
  // From registers: the same k step is multiplied four times.
  loadA(a, tileA, 0, lane);
  loadB(b, tileB, 0, lane);
  for (int i = 0; i < iterations; i++) {
#pragma unroll
    for (int step = 0; step < kDepth / 16; step++) {
      if (kFromShared) {
        loadA(a, tileA, step, lane);
        loadB(b, tileB, step, lane);
      }
      multiply(d, a, b);
    }
  }
  if (out == nullptr || blockIdx.x != 0 || threadIdx.x >= 32) return;
  for (int m = 0; m < kM; m++) {
    for (int n = 0; n < 2 * kN; n++) {
      for (int i = 0; i < 4; i++) out[(16 * m + lane / 4 + 8 * (i / 2)) * 16 * kN + 8 * n + lane % 4 * 2 + i % 2] = d[m][n][i];
    }
  }
}

template <bool kFromShared>
auto kernelFor(int m, int n) {
  if (m == 1 && n == 1) return tensorLoop<1, 1, kFromShared>;
  if (m == 2 && n == 2) return tensorLoop<2, 2, kFromShared>;
  if (m == 4 && n == 2) return tensorLoop<4, 2, kFromShared>;
  if (m == 4 && n == 4) return tensorLoop<4, 4, kFromShared>;
  throw std::logic_error("no kernel with this warp tile");
}
}  // namespace

void enqueueMma(const Probe& probe, const MmaShape& s, size_t sharedBytes, const uint16_t* values, float* out, int iterations) {
  const GpuLaunch launch{"tensorLoop", {static_cast<unsigned>(probe.smCount * s.blocksPerSm)}, {static_cast<unsigned>(32 * s.warpsPerBlock)}, sharedBytes, probe.stream};
  CUDA_TRY(gpuLaunch(launch, s.fromShared ? kernelFor<true>(s.m, s.n) : kernelFor<false>(s.m, s.n), values, out, iterations));
}
