// copyBlocks: copies whole cache blocks, with their scales. All sources are read into the workspace before any destination is
// written, so that a block may be source and destination in one call. Two launches: out, and back.
#include "lib/paged.h"
#include "lib/row_state.h"
#include "ops/attention.h"

namespace quire {
namespace {

template <class V>
__global__ void moveBlocksKernel(CacheParts parts, V* workspace, const uint32_t* pairs, bool toCache) {
  waitForPrevious();
  const uint32_t from = pairs[2 * blockIdx.x], to = pairs[2 * blockIdx.x + 1];
  if (from == NONE || to == NONE) return;
  const CachePart part = parts.all[blockIdx.y];
  const int64_t units = part.blockBytes / static_cast<int64_t>(sizeof(V));
  V* cache = static_cast<V*>(part.data) + (toCache ? to : from) * units;
  V* kept = workspace + (static_cast<int64_t>(blockIdx.x) * parts.blockBytes + parts.bytesBefore(blockIdx.y)) / static_cast<int64_t>(sizeof(V));
  for (int64_t i = threadIdx.x; i < units; i += blockDim.x) {
    if (toCache) cache[i] = kept[i];
    else kept[i] = cache[i];
  }
}

}  // namespace

size_t copyBlocksWorkspace(const CopyBlocks& a) { return workspaceBytes(static_cast<size_t>(a.pairs.rows) * cacheParts(a).blockBytes); }

cudaError_t copyBlocks(const CopyBlocks& a, const Step& s) {
  if (a.pairs.rows == 0) return cudaSuccess;
  const CacheParts parts = cacheParts(a);
  return withUnit(parts.unitBytes, [&](auto* unit) {
    using V = Element<decltype(unit)>;
    for (const bool toCache : {false, true}) {
      const GpuLaunch l{"copyBlocks", {static_cast<unsigned>(a.pairs.rows), static_cast<unsigned>(parts.count)}, {128}, 0, s.stream};
      if (const cudaError_t e = gpuLaunch(l, moveBlocksKernel<V>, parts, s.workspace.scratch<V>(), a.pairs.as<uint32_t>(), toCache); e != cudaSuccess) return e;
    }
    return cudaSuccess;
  });
}

}  // namespace quire
