// Addresses in the paged KV cache: [block][kvHead][slot][headDim].
#pragma once
#include "../ops/attention.h"
#include "elements.h"

namespace quire {

// The element at which the head of a slot begins. slot = block * blockSize + offset.
__device__ __forceinline__ int64_t cacheIndex(unsigned slot, int kvHead, const AttentionShape& s) {
  const unsigned block = slot / s.blockSize, offset = slot % s.blockSize;
  return ((static_cast<int64_t>(block) * s.kvHeads + kvHead) * s.blockSize + offset) * s.headDim;
}

// Bytes of one block of one cache.
inline int64_t cacheBlockBytes(const Tensor& cache) { return cache.columns * (cache.dtype == DType::f32 ? 4 : 2); }

// Calls f with a null pointer of the widest unit that divides a block: whole blocks move without regard to their dtype.
template <class F>
cudaError_t withUnit(int64_t bytes, F f) {
  if (bytes % 16 == 0) return f(static_cast<uint4*>(nullptr));
  if (bytes % 4 == 0) return f(static_cast<uint32_t*>(nullptr));
  return f(static_cast<uint16_t*>(nullptr));
}

}  // namespace quire
