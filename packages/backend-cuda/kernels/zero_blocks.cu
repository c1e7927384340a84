// zeroBlocks: clears whole cache blocks, and their scales. One block per cache block and cache.
#include "lib/paged.h"
#include "lib/row_state.h"
#include "ops/attention.h"

namespace quire {
namespace {

template <class V>
__global__ void zeroBlocksKernel(CacheParts parts, const uint32_t* blocks) {
  waitForPrevious();
  const uint32_t block = blocks[blockIdx.x];
  if (block == NONE) return;
  const CachePart part = parts.all[blockIdx.y];
  const int64_t units = part.blockBytes / static_cast<int64_t>(sizeof(V));
  V* cache = static_cast<V*>(part.data) + block * units;
  for (int64_t i = threadIdx.x; i < units; i += blockDim.x) cache[i] = V{};
}

}  // namespace

cudaError_t zeroBlocks(const ZeroBlocks& a, const Step& s) {
  if (a.blocks.rows == 0) return cudaSuccess;
  const CacheParts parts = cacheParts(a);
  return withUnit(parts.unitBytes, [&](auto* unit) {
    using V = Element<decltype(unit)>;
    const GpuLaunch l{"zeroBlocks", {static_cast<unsigned>(a.blocks.rows), static_cast<unsigned>(parts.count)}, {128}, 0, s.stream};
    return gpuLaunch(l, zeroBlocksKernel<V>, parts, a.blocks.as<uint32_t>());
  });
}

}  // namespace quire
