#include "warpgroup-kernels.h"

#include "kernels/lib/wgmma.h"

using namespace quire;

namespace {

constexpr int kDepth = 64, kSteps = kDepth / 16, kUnits = kBlockElements / 8;

// Rows of 64 elements of a matrix of `columns`, from one of its blocks of columns, into a block of shared memory.
__device__ void copyBlock(char* block, const uint16_t* matrix, int rows, int columns) {
  for (int i = threadIdx.x; i < rows * kUnits; i += kWarpgroupThreads) {
    const int row = i / kUnits, unit = i % kUnits;
    cpAsync16(block + row * kBlockRowBytes + (unit ^ row % 8) * 16, matrix + row * columns + unit * 8);
  }
}
__device__ void arrive() {
  cpAsyncCommit();
  cpAsyncWait<0>();
  fenceProxyAsync();
  __syncthreads();
}
template <int kN>
__device__ void store(float* out, const float (&d)[kN / 8][4]) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int j = 0; j < kN / 8; j++) {
    for (int i = 0; i < 4; i++) out[(16 * warp + lane / 4 + 8 * (i / 2)) * kN + 8 * j + 2 * (lane % 4) + i % 2] = d[j][i];
  }
}

template <class T>
__global__ void sharedProduct(const uint16_t* a, const uint16_t* b, float* out) {
  DYN_SHARED(char, shared);
  if constexpr (kHasWgmma) {
    char *const tileA = alignForWgmma(shared), *const tileB = tileA + kWarpgroupRows * kBlockRowBytes;
    copyBlock(tileA, a, kWarpgroupRows, kDepth);
    copyBlock(tileB, b, 128, kDepth);
    arrive();
    float d[16][4];
    wgmmaFence();
#pragma unroll
    for (int k = 0; k < kSteps; k++) wgmmaShared<T>(d, advanced(wgmmaOperand(tileA), k * 32), advanced(wgmmaOperand(tileB), k * 32), k > 0);
    wgmmaCommit();
    wgmmaWait<0>();
    pinRegisters(d);
    store<128>(out, d);
  }
}

template <class T, int kN>
__global__ void registerProduct(const uint16_t* a, const uint16_t* b, float* out) {
  DYN_SHARED(char, shared);
  if constexpr (kHasWgmma) {
    char* const tile = alignForWgmma(shared);
    for (int block = 0; block < kN / kBlockElements; block++) copyBlock(tile + block * kDepth * kBlockRowBytes, b + block * kBlockElements, kDepth, kN);
    const int row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, pair = threadIdx.x % 4;
    uint32_t registers[kSteps][4];
#pragma unroll
    for (int k = 0; k < kSteps; k++) {
#pragma unroll
      for (int i = 0; i < 4; i++) registers[k][i] = reinterpret_cast<const uint32_t*>(a)[((row + 8 * (i % 2)) * kDepth + 16 * k + 8 * (i / 2)) / 2 + pair];
    }
    arrive();
    float d[kN / 8][4];
#pragma unroll
    for (int j = 0; j < kN / 8; j++) d[j][0] = d[j][1] = d[j][2] = d[j][3] = 0;
    pinRegisters(d);
    wgmmaFence();
#pragma unroll
    for (int k = 0; k < kSteps; k++) wgmmaRegisters<T, kN>(d, registers[k], advanced(wgmmaOperand(tile, kDepth * kBlockRowBytes), k * 16 * kBlockRowBytes));
    wgmmaCommit();
    wgmmaWait<0>();
    pinRegisters(d);
    store<kN>(out, d);
  }
}

template <class T>
auto kernelFor(WarpgroupForm form) {
  if (form == WarpgroupForm::shared128) return sharedProduct<T>;
  return form == WarpgroupForm::registers64 ? registerProduct<T, 64> : registerProduct<T, 128>;
}

}  // namespace

void enqueueProduct(const Probe& probe, Half type, WarpgroupForm form, const uint16_t* a, const uint16_t* b, float* d) {
  const size_t sharedBytes = kPatternBytes + (kWarpgroupRows + 128) * kBlockRowBytes;
  const GpuLaunch launch{"warpgroupProduct", {1}, {kWarpgroupThreads}, sharedBytes, probe.stream};
  CUDA_TRY(gpuLaunch(launch, type == Half::f16 ? kernelFor<__half>(form) : kernelFor<__nv_bfloat16>(form), a, b, d));
}
