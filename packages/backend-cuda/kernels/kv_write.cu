// kvWrite: scatters keys and values of the step into their cache slots. One block per token.
#include "lib/elements.h"
#include "lib/paged.h"
#include "lib/row_state.h"
#include "ops/attention.h"

namespace quire {
namespace {

template <class T, class C>
__global__ void kvWriteKernel(const T* qkv, const uint32_t* slotMapping, C* kCache, C* vCache, int width, AttentionShape shape) {
  launchDependents();
  waitForPrevious();
  const uint32_t slot = slotMapping[blockIdx.x];
  if (slot == NONE) return;
  const int kvWidth = shape.kvHeads * shape.headDim;
  const T* keys = qkv + static_cast<int64_t>(blockIdx.x) * width + shape.heads * shape.headDim;
  for (int i = threadIdx.x; i < kvWidth; i += blockDim.x) {
    const int64_t to = cacheIndex(slot, i / shape.headDim, shape) + i % shape.headDim;
    kCache[to] = fromFloat<C>(toFloat(GPU_LOAD(keys + i)));
    vCache[to] = fromFloat<C>(toFloat(GPU_LOAD(keys + kvWidth + i)));
  }
}

}  // namespace

cudaError_t kvWrite(const KvWrite& a, const Step& s) {
  if (a.qkv.rows == 0) return cudaSuccess;
  return withDType(a.qkv.dtype, [&](auto* q) {
    return withDType(a.kCache.dtype, [&](auto* c) {
      using T = Element<decltype(q)>;
      using C = Element<decltype(c)>;
      return gpuLaunch({"kvWrite", {static_cast<unsigned>(a.qkv.rows)}, {128}, 0, s.stream}, kvWriteKernel<T, C>, a.qkv.as<T>(), a.slotMapping.as<uint32_t>(), a.kCache.as<C>(), a.vCache.as<C>(),
                       static_cast<int>(a.qkv.columns), a.shape);
    });
  });
}

}  // namespace quire
