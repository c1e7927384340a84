// The rotation of a head of a token, and its write to the cache, by a warp.
#pragma once
#include "kv_codes.h"
#include "rotary.h"
#include "row_state.h"

namespace quire {

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
      forOwn(lane, isValue, from, [&](float x) { largest = largerMagnitude(largest, x); });
      const VectorCodes<C> codes(__reduce_max_sync(kFullMask, largest));
      convert(lane, isValue, from, to, codes);
      if (lane == 0) (isValue ? values.scales : keys.scales)[at / shape.headDim] = codes.scale;
    } else {
      convert(lane, isValue, from, to, [](float x) { return fromFloat<C>(x); });
    }
  }

 private:
  // Calls f(x) for the elements of a head that are this lane's.
  template <class F>
  __device__ __forceinline__ void forOwn(int lane, bool isValue, const T* from, F f) const {
    if (!rotary.byPacks) return forOwnElements<T>(lane, isValue, shape.headDim, rotary, [&](int i) { f(toFloat(from[i])); });
    forOwnPacks<T>(lane, isValue, shape.headDim, rotary, [&](int i) {
      const Pack<T> pack = GPU_LOAD(reinterpret_cast<const Pack<T>*>(from) + i);
#pragma unroll
      for (int j = 0; j < Pack<T>::kSize; j++) f(toFloat(pack.values[j]));
    });
  }
  // to = f(from), of the same elements.
  template <class F>
  __device__ __forceinline__ void convert(int lane, bool isValue, const T* from, C* to, const F& f) const {
    if (!rotary.byPacks) return forOwnElements<T>(lane, isValue, shape.headDim, rotary, [&](int i) { to[i] = f(toFloat(from[i])); });
    using Converted = Beside<C, T>;
    forOwnPacks<T>(lane, isValue, shape.headDim, rotary, [&](int i) {
      const Pack<T> pack = GPU_LOAD(reinterpret_cast<const Pack<T>*>(from) + i);
      Converted converted;
#pragma unroll
      for (int j = 0; j < Pack<T>::kSize; j++) converted.values[j] = f(toFloat(pack.values[j]));
      GPU_STORE(reinterpret_cast<Converted*>(to) + i, converted);
    });
  }
};

template <class T, class C>
RotaryWrite<T, C> rotaryWrite(const RopeKvWrite& a) {
  const Rotary rotary = makeRotary<T>(a.rotaryDim, a.interleaved, a.shape.headDim, a.qkv.columns, {a.qkv.data, a.table.data, a.kCache.data, a.vCache.data, a.norms.qNorm.data, a.norms.kNorm.data});
  return {a.qkv.as<T>(), a.positions.as<uint32_t>(), a.table.as<float>(), a.slotMapping.as<uint32_t>(), kvCache<C>(a.kCache, a.kScales), kvCache<C>(a.vCache, a.vScales), a.shape, rotary, normWeights(a.norms)};
}

}  // namespace quire
