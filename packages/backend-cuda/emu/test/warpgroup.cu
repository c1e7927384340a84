#include "warpgroup.h"

#include "../../kernels/lib/wgmma.h"

using namespace quire;

namespace {

constexpr int kDepth = 64, kSteps = kDepth / 16;

__device__ char* unit(char* block, int row, int u) { return block + row * kBlockRowBytes + (u ^ row % 8) * 16; }

template <class T>
__global__ void sharedProduct(WarpgroupBug bug, const T* a, const T* b, float* out) {
  DYN_SHARED(char, shared);
  char *const tileA = alignForWgmma(shared), *const tileB = tileA + 64 * kBlockRowBytes;
  const int thread = threadIdx.x, lane = thread % 32;
  for (int i = thread; i < 64 * 8; i += 128) *reinterpret_cast<uint4*>(unit(tileA, i / 8, i % 8)) = reinterpret_cast<const uint4*>(a)[i];
  for (int i = thread; i < 128 * 8; i += 128) cpAsync16(unit(tileB, i / 8, i % 8), reinterpret_cast<const uint4*>(b) + i);
  cpAsyncCommit();
  cpAsyncWait<0>();
  if (bug != WarpgroupBug::missingProxyFence && !(bug == WarpgroupBug::oneMissingProxyFence && thread == 77)) fenceProxyAsync();
  if (bug != WarpgroupBug::missingBarrier) __syncthreads();
  if (bug == WarpgroupBug::oneMissingProxyFence) {
    // Only once the block is known to have products are copies told from stores.
    cpAsync16(unit(tileB, thread, 0), reinterpret_cast<const uint4*>(b) + thread * 8 + 1);
    cpAsyncCommit();
    cpAsyncWait<0>();
    if (thread != 77) fenceProxyAsync();
    __syncthreads();
  }
  float d[16][4];
  const uint64_t operandA = wgmmaOperand(tileA), operandB = wgmmaOperand(tileB + (bug == WarpgroupBug::operandOutside ? 64 * kBlockRowBytes : bug == WarpgroupBug::misaligned ? 128 : 0));
  if (bug != WarpgroupBug::missingFence) wgmmaFence();
  if (bug == WarpgroupBug::divergentLanes && lane < 16) wgmmaFence();
  for (int k = 0; k < kSteps; k++) {
    const int step = bug == WarpgroupBug::otherProducts && thread >= 96 ? kSteps - 1 - k : k;
    wgmmaShared<T>(d, advanced(operandA, step * 32), advanced(operandB, step * 32), k > 0);
  }
  if (bug != WarpgroupBug::missingCommit) wgmmaCommit();
  if (bug == WarpgroupBug::operandOverwritten && thread == 5) *reinterpret_cast<uint4*>(unit(tileB, 3, 3)) = {1, 2, 3, 4};
  if (bug == WarpgroupBug::accumulatorWritten && thread == 9) d[3][1] = 1;
  if (bug == WarpgroupBug::accumulatorRead) out[thread] = d[0][0];
  if (bug != WarpgroupBug::missingWait) wgmmaWait<0>();
  if (bug == WarpgroupBug::accumulatorRead) return;
  for (int j = 0; j < 16; j++) {
    for (int i = 0; i < 4; i++) out[(thread / 32 * 16 + lane / 4 + 8 * (i / 2)) * 128 + 8 * j + 2 * (lane % 4) + i % 2] = d[j][i];
  }
}

template <class T, int kN>
__global__ void registerProduct(WarpgroupBug bug, const T* a, const T* b, float* out) {
  DYN_SHARED(char, shared);
  char* const tile = alignForWgmma(shared);
  const int thread = threadIdx.x, lane = thread % 32, firstRow = thread / 32 * 16;
  constexpr int kUnits = kN / 8;
  for (int i = thread; i < kDepth * kUnits; i += 128) cpAsync16(unit(tile + i % kUnits / 8 * kDepth * kBlockRowBytes, i / kUnits, i % 8), reinterpret_cast<const uint4*>(b) + i);
  cpAsyncCommit();
  cpAsyncWait<0>();
  fenceProxyAsync();
  __syncthreads();
  uint32_t registers[kSteps][4];
  for (int k = 0; k < kSteps; k++) {
    for (int i = 0; i < 4; i++) registers[k][i] = reinterpret_cast<const uint32_t*>(a)[((firstRow + lane / 4 + 8 * (i % 2)) * kDepth + 16 * k + 8 * (i / 2)) / 2 + lane % 4];
  }
  float d[kN / 8][4];
  const uint64_t operand = wgmmaOperand(tile, kDepth * kBlockRowBytes);
  for (int round = 0; round < 2; round++) {
    for (auto& block : d) block[0] = block[1] = block[2] = block[3] = 0;
    if (round == 0 || bug != WarpgroupBug::missingFence) wgmmaFence();
    if (round == 1 && bug == WarpgroupBug::accumulatorWrittenBehindFence) d[0][0] = 1;
    for (int k = 0; k < kSteps; k++) wgmmaRegisters<T, kN>(d, registers[k], advanced(operand, k * 16 * kBlockRowBytes));
    wgmmaCommit();
    if (bug == WarpgroupBug::registersOfAOverwritten && thread == 30) registers[2][1] ^= 1;
    wgmmaWait<0>();
  }
  for (int j = 0; j < kN / 8; j++) {
    for (int i = 0; i < 4; i++) out[(firstRow + lane / 4 + 8 * (i / 2)) * kN + 8 * j + 2 * (lane % 4) + i % 2] = d[j][i];
  }
}

}  // namespace

template <class T>
cudaError_t launchSharedProduct(WarpgroupBug bug, const T* a, const T* b, float* out, cudaStream_t s) {
  return gpuLaunch({"sharedProduct", {1}, {128}, (64 + 128) * kBlockRowBytes, s}, sharedProduct<T>, bug, a, b, out);
}
template <class T>
cudaError_t launchRegisterProduct(WarpgroupBug bug, const T* a, const T* b, float* out, int n, cudaStream_t s) {
  const GpuLaunch launch{"registerProduct", {1}, {128}, static_cast<size_t>(n) / 64 * kDepth * kBlockRowBytes, s};
  return n == 64 ? gpuLaunch(launch, registerProduct<T, 64>, bug, a, b, out) : gpuLaunch(launch, registerProduct<T, 128>, bug, a, b, out);
}
template cudaError_t launchSharedProduct(WarpgroupBug, const __half*, const __half*, float*, cudaStream_t);
template cudaError_t launchSharedProduct(WarpgroupBug, const __nv_bfloat16*, const __nv_bfloat16*, float*, cudaStream_t);
template cudaError_t launchRegisterProduct(WarpgroupBug, const __half*, const __half*, float*, int, cudaStream_t);
template cudaError_t launchRegisterProduct(WarpgroupBug, const __nv_bfloat16*, const __nv_bfloat16*, float*, int, cudaStream_t);
