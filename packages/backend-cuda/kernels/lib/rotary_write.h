// The rotation of a head of a token, and its write to the cache, by a warp.
#pragma once
#include "kv_codes.h"
#include "rotary.h"
#include "row_state.h"

namespace quire {

// Calls f(i) for the elements of a head that are this lane's; only what lies behind rotaryDim is in order, and all of a value.
template <class F>
__device__ __forceinline__ void forOwnElements(int lane, bool isValue, int headDim, const Rotary& rotary, F f) {
  for (int pair = lane; !isValue && pair < rotary.rotaryDim / 2; pair += 32) {
    f(rotary.first(pair));
    f(rotary.second(pair));
  }
  for (int i = (isValue ? 0 : rotary.rotaryDim) + lane; i < headDim; i += 32) f(i);
}

// What the kernels of ropeKvWrite write to.
template <class T, class C>
struct RotaryWrite {
  T* qkv;
  const uint32_t* positions;
  const float* table;
  const uint32_t* slotMapping;
  KvCache<C> keys, values;
  AttentionShape shape;
  Rotary rotary;
  NormWeights norms;

  __device__ __forceinline__ int allHeads() const { return shape.heads + 2 * shape.kvHeads; }
  __device__ __forceinline__ bool isValue(int head) const { return head >= shape.heads + shape.kvHeads; }
  __device__ __forceinline__ T* headAt(int token, int head) const { return qkv + (static_cast<int64_t>(token) * allHeads() + head) * shape.headDim; }

  // A head of a token, by a warp.
  __device__ __forceinline__ void write(int token, int head) const {
    const int lane = threadIdx.x % 32;
    const bool isValue = this->isValue(head);
    const uint32_t slot = slotMapping[token];
    T* const from = headAt(token, head);
    if (!isValue) {
      const float* angles = table + static_cast<int64_t>(positions[token]) * rotary.rotaryDim;
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
};

template <class T, class C>
RotaryWrite<T, C> rotaryWrite(const RopeKvWrite& a) {
  return {a.qkv.as<T>(), a.positions.as<uint32_t>(), a.table.as<float>(), a.slotMapping.as<uint32_t>(), kvCache<C>(a.kCache, a.kScales), kvCache<C>(a.vCache, a.vScales), a.shape, Rotary{a.rotaryDim, a.interleaved}, normWeights(a.norms)};
}

}  // namespace quire
