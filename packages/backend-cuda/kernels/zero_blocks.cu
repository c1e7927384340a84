// zeroBlocks: clears whole cache blocks. One block per cache block and cache.
#include "lib/paged.h"
#include "lib/row_state.h"
#include "ops/attention.h"

namespace quire {
namespace {

template <class V>
__global__ void zeroBlocksKernel(V* kCache, V* vCache, const uint32_t* blocks, int64_t vectors) {
  waitForPrevious();
  const uint32_t block = blocks[blockIdx.x];
  if (block == NONE) return;
  V* cache = (blockIdx.y == 0 ? kCache : vCache) + block * vectors;
  for (int64_t i = threadIdx.x; i < vectors; i += blockDim.x) cache[i] = V{};
}

}  // namespace

cudaError_t zeroBlocks(const ZeroBlocks& a, const Step& s) {
  if (a.blocks.rows == 0) return cudaSuccess;
  const int64_t bytes = cacheBlockBytes(a.kCache);
  return withUnit(bytes, [&](auto* unit) {
    using V = Element<decltype(unit)>;
    return gpuLaunch({"zeroBlocks", {static_cast<unsigned>(a.blocks.rows), 2}, {128}, 0, s.stream}, zeroBlocksKernel<V>, a.kCache.as<V>(), a.vCache.as<V>(), a.blocks.as<uint32_t>(),
                     bytes / static_cast<int64_t>(sizeof(V)));
  });
}

}  // namespace quire
