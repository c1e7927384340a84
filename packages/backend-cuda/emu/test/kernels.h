#pragma once
#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "cuda_runtime.h"

// A mistake planted in an otherwise correct kernel.
enum class Bug { none, missingBarrier, barrierInBranch, divergentShuffle, exitedLane, missingWait, missingDependencyWait, notCooperative, notInClusters, missingClusterBarrier, earlyEnd };

template <Bug kBug>
cudaError_t launchRowSum(const float* x, float* out, int rows, int n, cudaStream_t s);
cudaError_t launchEarlyExit(Bug bug, float* out, cudaStream_t s);
template <class T>
cudaError_t launchTileProduct(Bug bug, const T* a, const T* b, float* c, int k, cudaStream_t s);
cudaError_t launchLastArriver(float* parts, unsigned* counter, float* out, unsigned blocks, cudaStream_t s);
cudaError_t launchNeighbours(Bug bug, float* values, float* out, unsigned* barrier, unsigned blocks, cudaStream_t s);
// Clusters of `cluster` blocks of 64 threads: out[thread] = 1 + thread of the next block of the cluster.
cudaError_t launchClusters(Bug bug, float* out, unsigned blocks, int cluster, cudaStream_t s);
cudaError_t launchPair(Bug bug, float* data, float* out, unsigned blocks, cudaStream_t s);
cudaError_t launchOutOfBounds(float* data, int n, cudaStream_t s);
// 12 KiB of static shared memory beside `dynamicBytes`.
cudaError_t launchCrowded(float* out, size_t dynamicBytes, cudaStream_t s);
// A grid of 1 x `height` blocks.
cudaError_t launchTall(float* out, unsigned height, cudaStream_t s);
cudaError_t launchStrided(const float* x, float* out, int stride, cudaStream_t s);
cudaError_t launchTwoRequests(const float* x, float* out, cudaStream_t s);
