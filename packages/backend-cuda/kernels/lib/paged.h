// Addresses in the paged KV cache: [block][kvHead][slot][headDim].
#pragma once
#include "../kernels.h"
#include "gpu.h"

namespace quire {

// The element at which the head of a slot begins. slot = block * blockSize + offset.
__device__ __forceinline__ int64_t cacheIndex(unsigned slot, int kvHead, const AttentionShape& s) {
  const unsigned block = slot / s.blockSize, offset = slot % s.blockSize;
  return ((static_cast<int64_t>(block) * s.kvHeads + kvHead) * s.blockSize + offset) * s.headDim;
}

}  // namespace quire
