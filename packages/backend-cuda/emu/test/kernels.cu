// Small kernels for the emulator's own tests: correct ones, and the same with one planted bug each.
#include "kernels.h"

#include "../../kernels/lib/cluster.h"
#include "../../kernels/lib/crew.h"

namespace {

// out[row] = sum of x[row]: shuffles within warps, shared memory between them.
template <Bug kBug>
__global__ void rowSum(const float* x, float* out, int n) {
  SHARED(float, partial, 32);
  float sum = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) sum += GPU_LOAD(x + blockIdx.x * n + i);
  const int warps = blockDim.x / 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (kBug == Bug::divergentShuffle && warp == 0) {
    if (lane < 16) sum += __shfl_xor_sync(kFullMask, sum, 16);
  } else {
    for (int by = 16; by > 0; by /= 2) sum += __shfl_xor_sync(kFullMask, sum, by);
  }
  if (lane == 0) partial[warp] = sum;
  if (kBug == Bug::barrierInBranch) {
    if (warp == 0) __syncthreads();
    else __syncthreads();
  } else if (kBug != Bug::missingBarrier) {
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    float all = 0;
    for (int w = 0; w < warps; w++) all += partial[w];
    GPU_STORE(out + blockIdx.x, all);
  }
}

template <Bug kBug>
__global__ void earlyExit(float* out) {
  if (threadIdx.x >= 16 && kBug == Bug::exitedLane) return;
  const float v = __shfl_sync(kFullMask, static_cast<float>(threadIdx.x), 3);
  out[threadIdx.x] = v;
}

// C[16x8] = A[16x16k] B[8x16k]^T with cp.async, ldmatrix and mma; one warp.
template <class T, Bug kBug>
__global__ void tileProduct(const T* a, const T* b, float* c, int k) {
  SHARED(T, tileA, 16 * 16);
  SHARED(T, tileB, 8 * 16);
  float d[4] = {0, 0, 0, 0};
  const int lane = threadIdx.x;
  for (int k0 = 0; k0 < k; k0 += 16) {
    cpAsync16(tileA + lane / 2 * 16 + lane % 2 * 8, a + lane / 2 * k + k0 + lane % 2 * 8);
    if (lane < 16) cpAsync16(tileB + lane / 2 * 16 + lane % 2 * 8, b + lane / 2 * k + k0 + lane % 2 * 8);
    cpAsyncCommit();
    if (kBug != Bug::missingWait) cpAsyncWait<0>();
    __syncwarp();
    uint32_t fa[4], fb[4];
    ldmatrixX4<false>(fa, tileA + lane % 16 * 16 + lane / 16 * 8);
    // Rows of B are columns of the product: matrices 0 and 1 are its two halves of k, 2 and 3 repeat them.
    ldmatrixX4<false>(fb, tileB + lane % 8 * 16 + lane / 8 % 2 * 8);
    const uint32_t halves[2] = {fb[0], fb[1]};
    mma16816<T>(d, fa, halves);
    __syncwarp();
  }
  if (kBug == Bug::missingWait) cpAsyncWait<0>();
  for (int i = 0; i < 4; i++) c[(lane / 4 + 8 * (i / 2)) * 8 + lane % 4 * 2 + i % 2] = d[i];
}

// Every block adds its part; the last to arrive sums them in order.
__global__ void lastArriver(float* parts, unsigned* counter, float* out) {
  SHARED(bool, flag, 1);
  if (threadIdx.x == 0) parts[blockIdx.x] = static_cast<float>(blockIdx.x + 1);
  if (arriveLast(counter, gridDim.x, flag) && threadIdx.x == 0) {
    float sum = 0;
    for (unsigned b = 0; b < gridDim.x; b++) sum += parts[b];
    *out = sum;
  }
}

// Each block writes, all meet, each block reads its neighbour's value.
__global__ void neighbours(float* values, float* out, unsigned* barrier) {
  if (threadIdx.x == 0) values[blockIdx.x] = static_cast<float>(blockIdx.x * blockIdx.x);
  gridBarrier(barrier);
  if (threadIdx.x == 0) out[blockIdx.x] = values[(blockIdx.x + 1) % gridDim.x];
  gridBarrier(barrier);
  if (threadIdx.x == 0) values[blockIdx.x] = -1;
}

__global__ void producer(float* data) {
  launchDependents();
  data[blockIdx.x * blockDim.x + threadIdx.x] = 2.0f;
}
template <Bug kBug>
__global__ void consumer(const float* data, float* out) {
  if (kBug != Bug::missingDependencyWait) waitForPrevious();
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = data[i] * 3.0f;
}

__global__ void outOfBounds(float* data, int n) { data[n + threadIdx.x] = 1.0f; }

__global__ void crowded(float* out) {
  SHARED(float, table, 3072);
  table[threadIdx.x] = 1.0f;
  out[threadIdx.x] = table[threadIdx.x];
}

using quire::clusterBarrier, quire::clusterLoad;

// Every block reads what the next one of its cluster has written.
template <Bug kBug>
__global__ void clusters(float* out, int cluster) {
  SHARED(float4, mine, 64);
  mine[threadIdx.x] = {static_cast<float>(blockIdx.x * 64 + threadIdx.x), 0, 0, 0};
  if (kBug != Bug::missingClusterBarrier) CLUSTER_BARRIER();
  const int rank = static_cast<int>(blockIdx.x) % cluster;
  if (kBug == Bug::earlyEnd && rank == 0) return;
  out[blockIdx.x * 64 + threadIdx.x] = 1 + CLUSTER_LOAD(mine + threadIdx.x, (rank + 1) % cluster).x;
  CLUSTER_BARRIER();
}

__global__ void strided(const float* x, float* out, int stride) { out[threadIdx.x] = GPU_LOAD(x + threadIdx.x * stride); }

// Lane 0 takes no part in the first of two requests.
__global__ void twoRequests(const float* x, float* out) {
  float sum = 0;
  for (int i = 0; i < 2; i++) {
    if (i == 1 || threadIdx.x != 0) sum += GPU_LOAD(x + 32 * i + threadIdx.x);
    __syncwarp();
  }
  out[threadIdx.x] = sum;
}

}  // namespace

template <Bug kBug>
cudaError_t launchRowSum(const float* x, float* out, int rows, int n, cudaStream_t s) {
  return gpuLaunch({"rowSum", {static_cast<unsigned>(rows)}, {128}, 0, s}, rowSum<kBug>, x, out, n);
}
template cudaError_t launchRowSum<Bug::none>(const float*, float*, int, int, cudaStream_t);
template cudaError_t launchRowSum<Bug::missingBarrier>(const float*, float*, int, int, cudaStream_t);
template cudaError_t launchRowSum<Bug::barrierInBranch>(const float*, float*, int, int, cudaStream_t);
template cudaError_t launchRowSum<Bug::divergentShuffle>(const float*, float*, int, int, cudaStream_t);

cudaError_t launchEarlyExit(Bug bug, float* out, cudaStream_t s) {
  return gpuLaunch({"earlyExit", {1}, {32}, 0, s}, bug == Bug::none ? earlyExit<Bug::none> : earlyExit<Bug::exitedLane>, out);
}
template <class T>
cudaError_t launchTileProduct(Bug bug, const T* a, const T* b, float* c, int k, cudaStream_t s) {
  return gpuLaunch({"tileProduct", {1}, {32}, 0, s}, bug == Bug::none ? tileProduct<T, Bug::none> : tileProduct<T, Bug::missingWait>, a, b, c, k);
}
template cudaError_t launchTileProduct<__half>(Bug, const __half*, const __half*, float*, int, cudaStream_t);
template cudaError_t launchTileProduct<__nv_bfloat16>(Bug, const __nv_bfloat16*, const __nv_bfloat16*, float*, int, cudaStream_t);

cudaError_t launchLastArriver(float* parts, unsigned* counter, float* out, unsigned blocks, cudaStream_t s) {
  return gpuLaunch({"lastArriver", {blocks}, {64}, 0, s}, lastArriver, parts, counter, out);
}
cudaError_t launchNeighbours(Bug bug, float* values, float* out, unsigned* barrier, unsigned blocks, cudaStream_t s) {
  return gpuLaunch({"neighbours", {blocks}, {64}, 0, s, bug != Bug::notCooperative}, neighbours, values, out, barrier);
}
cudaError_t launchClusters(Bug bug, float* out, unsigned blocks, int cluster, cudaStream_t s) {
  auto* const kernel = bug == Bug::missingClusterBarrier ? clusters<Bug::missingClusterBarrier> : bug == Bug::earlyEnd ? clusters<Bug::earlyEnd> : clusters<Bug::none>;
  if (bug == Bug::notInClusters) return gpuLaunch({"clusters", {blocks}, {64}, 0, s}, kernel, out, cluster);
  return quire::gpuLaunchInClusters({"clusters", {blocks}, {64}, 0, s}, cluster, kernel, out, cluster);
}
cudaError_t launchPair(Bug bug, float* data, float* out, unsigned blocks, cudaStream_t s) {
  const cudaError_t e = gpuLaunch({"producer", {blocks}, {32}, 0, s}, producer, data);
  if (e != cudaSuccess) return e;
  return gpuLaunch({"consumer", {blocks}, {32}, 0, s}, bug == Bug::none ? consumer<Bug::none> : consumer<Bug::missingDependencyWait>, data, out);
}
cudaError_t launchOutOfBounds(float* data, int n, cudaStream_t s) { return gpuLaunch({"outOfBounds", {1}, {32}, 0, s}, outOfBounds, data, n); }
cudaError_t launchCrowded(float* out, size_t dynamicBytes, cudaStream_t s) { return gpuLaunch({"crowded", {1}, {32}, dynamicBytes, s}, crowded, out); }
cudaError_t launchTall(float* out, unsigned height, cudaStream_t s) { return gpuLaunch({"crowded", {1, height}, {32}, 0, s}, crowded, out); }
cudaError_t launchStrided(const float* x, float* out, int stride, cudaStream_t s) { return gpuLaunch({"strided", {1}, {32}, 0, s}, strided, x, out, stride); }
cudaError_t launchTwoRequests(const float* x, float* out, cudaStream_t s) { return gpuLaunch({"twoRequests", {1}, {32}, 0, s}, twoRequests, x, out); }
