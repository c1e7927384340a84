// ropeKvWrite: rope, then kvWrite, in one launch: norms queries and keys of qkv where the op has norms, rotates them, in place, and
// scatters these keys and the values into their cache slots.
//
// A warp owns a head of a token, queries, keys and values alike, so that a step of one token still fills a multiprocessor or
// more; a block is eight of them. A lane writes to the cache what it rotated itself, as it stored it, rounded to the dtype of
// qkv: no lane reads what another one wrote. Of a vector that becomes codes the lanes share the largest magnitude.
#include "lib/kv_codes.h"
#include "lib/paged.h"
#include "lib/rotary.h"
#include "lib/row_state.h"
#include "ops/attention.h"

namespace quire {
namespace {

constexpr int kWarps = 8;

// Calls f(i) for the elements of a head that are this lane's; only what lies behind rotaryDim is in order, and all of a value.
template <class F>
__device__ __forceinline__ void forOwnElements(int lane, bool isValue, int headDim, const Rotary& rotary, F f) {
  for (int pair = lane; !isValue && pair < rotary.rotaryDim / 2; pair += 32) {
    f(rotary.first(pair));
    f(rotary.second(pair));
  }
  for (int i = (isValue ? 0 : rotary.rotaryDim) + lane; i < headDim; i += 32) f(i);
}

template <class T, class C>
__global__ void ropeKvWriteKernel(T* qkv, const uint32_t* positions, const float* table, const uint32_t* slotMapping, KvCache<C> keys, KvCache<C> values, AttentionShape shape, Rotary rotary, NormWeights norms) {
  launchDependents();
  waitForPrevious();
  const int lane = threadIdx.x % 32, head = blockIdx.y * kWarps + threadIdx.x / 32, allHeads = shape.heads + 2 * shape.kvHeads;
  if (head >= allHeads) return;
  const bool isValue = head >= shape.heads + shape.kvHeads;
  const uint32_t slot = slotMapping[blockIdx.x];
  T* const from = qkv + (static_cast<int64_t>(blockIdx.x) * allHeads + head) * shape.headDim;
  if (!isValue) {
    const float* angles = table + static_cast<int64_t>(positions[blockIdx.x]) * rotary.rotaryDim;
    RotaryHead<T>(from, shape.headDim, lane, rotary, norms, head < shape.heads).turn(angles);
  }
  if (head < shape.heads || slot == NONE) return;
  const int64_t at = cacheIndex(slot, (head - shape.heads) % shape.kvHeads, shape);
  C* const to = (isValue ? values.data : keys.data) + at;
  if constexpr (kHoldsCodes<C>) {
    uint32_t largest = 0;
    forOwnElements(lane, isValue, shape.headDim, rotary, [&](int i) { largest = largerMagnitude(largest, toFloat(from[i])); });
    const VectorCodes<C> codes(__reduce_max_sync(kFullMask, largest));
    forOwnElements(lane, isValue, shape.headDim, rotary, [&](int i) { to[i] = codes(toFloat(from[i])); });
    if (lane == 0) (isValue ? values.scales : keys.scales)[at / shape.headDim] = codes.scale;
  } else {
    forOwnElements(lane, isValue, shape.headDim, rotary, [&](int i) { to[i] = fromFloat<C>(toFloat(from[i])); });
  }
}

}  // namespace

cudaError_t ropeKvWrite(const RopeKvWrite& a, const Step& s) {
  if (a.qkv.rows == 0) return cudaSuccess;
  return withDType(a.qkv.dtype, [&](auto* q) {
    return withCacheDType(a.kCache.dtype, [&](auto* c) {
      using T = Element<decltype(q)>;
      using C = Element<decltype(c)>;
      const dim3 grid{static_cast<unsigned>(a.qkv.rows), ceilDiv(a.shape.heads + 2 * a.shape.kvHeads, kWarps)};
      return gpuLaunch({"ropeKvWrite", grid, {32 * kWarps}, 0, s.stream}, ropeKvWriteKernel<T, C>, a.qkv.as<T>(), a.positions.as<uint32_t>(), a.table.as<float>(), a.slotMapping.as<uint32_t>(),
                       kvCache<C>(a.kCache, a.kScales), kvCache<C>(a.vCache, a.vScales), a.shape, Rotary{a.rotaryDim, a.interleaved}, normWeights(a.norms));
    });
  });
}

}  // namespace quire
