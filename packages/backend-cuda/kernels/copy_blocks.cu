// copyBlocks: copies whole cache blocks. All sources are read into the workspace before any destination is written, so that a
// block may be source and destination in one call. Two launches: out, and back.
#include "lib/paged.h"
#include "lib/row_state.h"
#include "ops/attention.h"

namespace quire {
namespace {

template <class V>
__global__ void moveBlocksKernel(V* kCache, V* vCache, V* workspace, const uint32_t* pairs, int64_t vectors, bool toCache) {
  waitForPrevious();
  const uint32_t from = pairs[2 * blockIdx.x], to = pairs[2 * blockIdx.x + 1];
  if (from == NONE || to == NONE) return;
  V* cache = (blockIdx.y == 0 ? kCache : vCache) + (toCache ? to : from) * vectors;
  V* kept = workspace + (static_cast<int64_t>(blockIdx.x) * 2 + blockIdx.y) * vectors;
  for (int64_t i = threadIdx.x; i < vectors; i += blockDim.x) {
    if (toCache) cache[i] = kept[i];
    else kept[i] = cache[i];
  }
}

}  // namespace

size_t copyBlocksWorkspace(const CopyBlocks& a) { return workspaceBytes(static_cast<size_t>(a.pairs.rows) * 2 * cacheBlockBytes(a.kCache)); }

cudaError_t copyBlocks(const CopyBlocks& a, const Step& s) {
  if (a.pairs.rows == 0) return cudaSuccess;
  const int64_t bytes = cacheBlockBytes(a.kCache);
  return withUnit(bytes, [&](auto* unit) {
    using V = Element<decltype(unit)>;
    for (const bool toCache : {false, true}) {
      const cudaError_t e = gpuLaunch({"copyBlocks", {static_cast<unsigned>(a.pairs.rows), 2}, {128}, 0, s.stream}, moveBlocksKernel<V>, a.kCache.as<V>(), a.vCache.as<V>(),
                                      s.workspace.scratch<V>(), a.pairs.as<uint32_t>(), bytes / static_cast<int64_t>(sizeof(V)), toCache);
      if (e != cudaSuccess) return e;
    }
    return cudaSuccess;
  });
}

}  // namespace quire
