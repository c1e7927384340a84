// ropeKvWrite: rope, then kvWrite, in one launch: norms queries and keys of qkv where the op has norms, rotates them, in place, and
// scatters these keys and the values into their cache slots.
//
// A warp owns a head of a token, queries, keys and values alike, so that a step of one token still fills a multiprocessor or
// more; a block is eight of them. A lane writes to the cache what it rotated itself, as it stored it, rounded to the dtype of
// qkv: no lane reads what another one wrote.
#include "lib/paged.h"
#include "lib/rotary.h"
#include "lib/row_state.h"
#include "ops/attention.h"

namespace quire {
namespace {

constexpr int kWarps = 8;

// cache[i] = head[i] for one element.
template <class T, class C>
__device__ __forceinline__ void writeElement(C* cache, const T* head, int i) {
  cache[i] = fromFloat<C>(toFloat(head[i]));
}

template <class T, class C>
__global__ void ropeKvWriteKernel(T* qkv, const uint32_t* positions, const float* table, const uint32_t* slotMapping, C* kCache, C* vCache, AttentionShape shape, Rotary rotary, NormWeights norms) {
  launchDependents();
  waitForPrevious();
  const int lane = threadIdx.x % 32, head = blockIdx.y * kWarps + threadIdx.x / 32, allHeads = shape.heads + 2 * shape.kvHeads;
  if (head >= allHeads) return;
  const bool isValue = head >= shape.heads + shape.kvHeads;
  const uint32_t slot = slotMapping[blockIdx.x];
  const bool written = head >= shape.heads && slot != NONE;
  T* const from = qkv + (static_cast<int64_t>(blockIdx.x) * allHeads + head) * shape.headDim;
  C* to = nullptr;
  if (written) to = (isValue ? vCache : kCache) + cacheIndex(slot, (head - shape.heads) % shape.kvHeads, shape);
  if (!isValue) {
    const float* angles = table + static_cast<int64_t>(positions[blockIdx.x]) * rotary.rotaryDim;
    RotaryHead<T>(from, shape.headDim, lane, rotary, norms, head < shape.heads).turn(angles);
  }
  if (!written) return;
  for (int pair = lane; !isValue && pair < rotary.rotaryDim / 2; pair += 32) {
    writeElement(to, from, rotary.first(pair));
    writeElement(to, from, rotary.second(pair));
  }
  for (int i = (isValue ? 0 : rotary.rotaryDim) + lane; i < shape.headDim; i += 32) writeElement(to, from, i);
}

}  // namespace

cudaError_t ropeKvWrite(const RopeKvWrite& a, const Step& s) {
  if (a.qkv.rows == 0) return cudaSuccess;
  return withDType(a.qkv.dtype, [&](auto* q) {
    return withDType(a.kCache.dtype, [&](auto* c) {
      using T = Element<decltype(q)>;
      using C = Element<decltype(c)>;
      const dim3 grid{static_cast<unsigned>(a.qkv.rows), ceilDiv(a.shape.heads + 2 * a.shape.kvHeads, kWarps)};
      return gpuLaunch({"ropeKvWrite", grid, {32 * kWarps}, 0, s.stream}, ropeKvWriteKernel<T, C>, a.qkv.as<T>(), a.positions.as<uint32_t>(), a.table.as<float>(), a.slotMapping.as<uint32_t>(),
                       a.kCache.as<C>(), a.vCache.as<C>(), a.shape, Rotary{a.rotaryDim, a.interleaved}, normWeights(a.norms));
    });
  });
}

}  // namespace quire
