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

// Bytes of one block of one cache, or of its scales.
inline int64_t cacheBlockBytes(const Tensor& cache) {
  switch (cache.dtype) {
    case DType::f32: return 4 * cache.columns;
    case DType::i8:
    case DType::f8e4m3: return cache.columns;
    default: return 2 * cache.columns;
  }
}

// The tensors of a layer's cache, whose blocks are moved without regard to their dtype: keys, values, and where these are codes
// the scales of both.
struct CachePart {
  void* data;
  int64_t blockBytes;
};
struct CacheParts {
  CachePart all[4];
  int count;
  // Of one block in all parts, and what a unit must divide.
  int64_t blockBytes, unitBytes;
  __device__ int64_t bytesBefore(int part) const {
    int64_t bytes = 0;
    for (int i = 0; i < part; i++) bytes += all[i].blockBytes;
    return bytes;
  }
};
template <class Op>
CacheParts cacheParts(const Op& a) {
  CacheParts parts{};
  for (const Tensor* t : {&a.kCache, &a.vCache, &a.kScales, &a.vScales}) {
    if (!*t) continue;
    const int64_t bytes = cacheBlockBytes(*t);
    parts.all[parts.count++] = {t->data, bytes};
    parts.blockBytes += bytes, parts.unitBytes |= bytes;
  }
  return parts;
}

// Calls f with a null pointer of the widest unit that divides a block.
template <class F>
cudaError_t withUnit(int64_t bytes, F f) {
  if (bytes % 16 == 0) return f(static_cast<uint4*>(nullptr));
  if (bytes % 4 == 0) return f(static_cast<uint32_t*>(nullptr));
  if (bytes % 2 == 0) return f(static_cast<uint16_t*>(nullptr));
  return f(static_cast<uint8_t*>(nullptr));
}

}  // namespace quire
