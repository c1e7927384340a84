// kvWrite: scatters keys and values of the step into their cache slots. One block per token; a cache of codes has a warp to each
// vector instead, which finds its scale first.
#include "lib/cache_write.h"
#include "lib/kv_codes.h"

namespace quire {
namespace {

template <class T, class C>
__global__ void kvWriteKernel(CacheWrite<T, C> w) {
  launchDependents();
  waitForPrevious();
  w.write(blockIdx.x);
}

constexpr int kWarps = 4;

template <class T, class C>
__global__ void kvWriteCodes(const T* qkv, const uint32_t* slotMapping, KvCache<C> keys, KvCache<C> values, int width, AttentionShape shape) {
  launchDependents();
  waitForPrevious();
  const int lane = threadIdx.x % 32, vector = blockIdx.y * kWarps + threadIdx.x / 32;
  const uint32_t slot = slotMapping[blockIdx.x];
  if (slot == NONE || vector >= 2 * shape.kvHeads) return;
  const T* from = qkv + static_cast<int64_t>(blockIdx.x) * width + (shape.heads + vector) * shape.headDim;
  const KvCache<C> cache = vector < shape.kvHeads ? keys : values;
  const int64_t to = cacheIndex(slot, vector % shape.kvHeads, shape);
  uint32_t largest = 0;
  for (int i = lane; i < shape.headDim; i += 32) largest = largerMagnitude(largest, toFloat(GPU_LOAD(from + i)));
  const VectorCodes<C> codes(__reduce_max_sync(kFullMask, largest));
  for (int i = lane; i < shape.headDim; i += 32) cache.data[to + i] = codes(toFloat(from[i]));
  if (lane == 0) cache.scales[to / shape.headDim] = codes.scale;
}

}  // namespace

cudaError_t kvWrite(const KvWrite& a, const Step& s) {
  if (a.qkv.rows == 0) return cudaSuccess;
  const auto tokens = static_cast<unsigned>(a.qkv.rows);
  const int width = static_cast<int>(a.qkv.columns);
  return withDType(a.qkv.dtype, [&](auto* q) {
    return withCacheDType(a.kCache.dtype, [&](auto* c) {
      using T = Element<decltype(q)>;
      using C = Element<decltype(c)>;
      if constexpr (kHoldsCodes<C>) {
        const dim3 grid{tokens, ceilDiv(2 * a.shape.kvHeads, kWarps)};
        return gpuLaunch({"kvWrite", grid, {32 * kWarps}, 0, s.stream}, kvWriteCodes<T, C>, a.qkv.as<T>(), a.slotMapping.as<uint32_t>(), kvCache<C>(a.kCache, a.kScales), kvCache<C>(a.vCache, a.vScales),
                         width, a.shape);
      } else {
        return gpuLaunch({"kvWrite", {tokens}, {128}, 0, s.stream}, kvWriteKernel<T, C>, cacheWrite<T, C>(a));
      }
    });
  });
}

}  // namespace quire
