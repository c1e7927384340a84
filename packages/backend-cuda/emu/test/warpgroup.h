// Products of warpgroups, right and with one planted bug each.
#pragma once
#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "cuda_runtime.h"

enum class WarpgroupBug {
  none,
  // Shared memory: written by a thread's stores, or with cp.async.
  missingProxyFence, oneMissingProxyFence, missingBarrier, operandOverwritten, operandOutside, misaligned,
  // Registers.
  missingFence, accumulatorRead, accumulatorWritten, accumulatorWrittenBehindFence, registersOfAOverwritten,
  // Order.
  missingCommit, missingWait, otherProducts, divergentLanes,
};

// out (64 x 128) = a (64 x 64) b^T (128 x 64): both operands K-major in shared memory.
template <class T>
cudaError_t launchSharedProduct(WarpgroupBug bug, const T* a, const T* b, float* out, cudaStream_t s);
// out (64 x n) = a (64 x 64) b (64 x n): A in registers, B N-major; n 64 or 128. Twice over, with accumulators set between.
template <class T>
cudaError_t launchRegisterProduct(WarpgroupBug bug, const T* a, const T* b, float* out, int n, cudaStream_t s);

using Check = void (*)(bool ok, const char* what);
void testWarpgroups(Check check);
