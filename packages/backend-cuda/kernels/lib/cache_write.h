// The write of a token's keys and values to a cache of values, by a block.
#pragma once
#include "paged.h"
#include "row_state.h"

namespace quire {

template <class T, class C>
struct CacheWrite {
  const T* qkv;
  const uint32_t* slotMapping;
  C *kCache, *vCache;
  int width;
  AttentionShape shape;

  __device__ __forceinline__ void write(int token) const {
    const uint32_t slot = slotMapping[token];
    if (slot == NONE) return;
    const int kvWidth = shape.kvHeads * shape.headDim;
    const T* keys = qkv + static_cast<int64_t>(token) * width + shape.heads * shape.headDim;
    for (int i = threadIdx.x; i < kvWidth; i += blockDim.x) {
      const int64_t to = cacheIndex(slot, i / shape.headDim, shape) + i % shape.headDim;
      kCache[to] = fromFloat<C>(toFloat(GPU_LOAD(keys + i)));
      vCache[to] = fromFloat<C>(toFloat(GPU_LOAD(keys + kvWidth + i)));
    }
  }
};

template <class T, class C>
CacheWrite<T, C> cacheWrite(const KvWrite& a) {
  return {a.qkv.as<T>(), a.slotMapping.as<uint32_t>(), a.kCache.as<C>(), a.vCache.as<C>(), static_cast<int>(a.qkv.columns), a.shape};
}

}  // namespace quire
