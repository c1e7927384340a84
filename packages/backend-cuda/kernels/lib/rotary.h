// RMS norm and rotary position embedding of one head, by a warp.
#pragma once
#include "../ops/attention.h"
#include "reduce.h"
#include "row_packs.h"
#include "with_element.h"

namespace quire {

struct Rotary {
  int rotaryDim;
  bool interleaved;
  // Lanes share a head by packs of 16 bytes, else by elements.
  bool byPacks;

  // Elements of the head that pair `pair` joins.
  __host__ __device__ __forceinline__ int first(int pair) const { return interleaved ? 2 * pair : pair; }
  __host__ __device__ __forceinline__ int second(int pair) const { return interleaved ? 2 * pair + 1 : pair + rotaryDim / 2; }
};

// By packs where both halves of what is rotated, and what lies behind them, are whole packs of T. `pointers`: to the first head of a
// row, to the table, to the norms' weights and the caches; null ones do not count.
template <class T>
Rotary makeRotary(int rotaryDim, bool interleaved, int headDim, int64_t width, std::initializer_list<const void*> pointers) {
  constexpr int kSize = Pack<T>::kSize;
  bool byPacks = !interleaved && rotaryDim % (2 * kSize) == 0 && headDim % kSize == 0 && width % kSize == 0;
  for (const void* p : pointers) byPacks &= reinterpret_cast<uintptr_t>(p) % 16 == 0;
  return {rotaryDim, interleaved, byPacks};
}

// Calls f(i) for the packs of a head that are this lane's; those that are rotated with each other are one lane's. All of a value are
// in order.
template <class T, class F>
__device__ __forceinline__ void forOwnPacks(int lane, bool isValue, int headDim, const Rotary& rotary, F f) {
  constexpr int kSize = Pack<T>::kSize;
  const int half = isValue ? 0 : rotary.rotaryDim / 2 / kSize;
  // Of most heads a lane has a pack or two.
#pragma unroll 1
  for (int i = lane; i < half; i += 32) {
    f(i);
    f(i + half);
  }
#pragma unroll 1
  for (int i = 2 * half + lane; i < headDim / kSize; i += 32) f(i);
}
// The same for its elements.
template <class T, class F>
__device__ __forceinline__ void forOwnElements(int lane, bool isValue, int headDim, const Rotary& rotary, F f) {
  if (rotary.byPacks) {
    forOwnPacks<T>(lane, isValue, headDim, rotary, [&](int pack) {
#pragma unroll
      for (int i = 0; i < Pack<T>::kSize; i++) f(pack * Pack<T>::kSize + i);
    });
    return;
  }
  for (int pair = lane; !isValue && pair < rotary.rotaryDim / 2; pair += 32) {
    f(rotary.first(pair));
    f(rotary.second(pair));
  }
  for (int i = (isValue ? 0 : rotary.rotaryDim) + lane; i < headDim; i += 32) f(i);
}

// The norms of an op's heads, as kernels take them.
struct NormWeights {
  const void* query;
  const void* key;
  DType dtype;
  float eps;
};
inline NormWeights normWeights(const HeadNorms& n) { return {n.qNorm.data, n.kNorm.data, n.qNorm.dtype, n.eps}; }

// One head, headDim elements in memory. A lane touches its own elements and no others.
template <class T>
struct RotaryHead {
  static constexpr int kSize = Pack<T>::kSize;
  T* const head;
  const int headDim, lane;
  const Rotary rotary;
  // null: the head is not normed, and scale is not used.
  const void* const weight;
  const DType weightDType;
  float scale = 1;

  __device__ __forceinline__ RotaryHead(T* data, int dim, int l, const Rotary& r, const NormWeights& n, bool isQuery)
      : head(data), headDim(dim), lane(l), rotary(r), weight(isQuery ? n.query : n.key), weightDType(n.dtype) {
    if (weight == nullptr) return;
    float squares = 0;
    auto add = [&](T element) {
      const float x = toFloat(element);
      squares += x * x;
    };
    if (rotary.byPacks) {
      forOwnPacks<T>(lane, false, headDim, rotary, [&](int i) {
        const Pack<T> pack = GPU_LOAD(packs() + i);
#pragma unroll
        for (int j = 0; j < kSize; j++) add(pack.values[j]);
      });
    } else {
      forOwnElements<T>(lane, false, headDim, rotary, [&](int i) { add(head[i]); });
    }
    scale = rsqrtf(warpSum(squares) / headDim + n.eps);
  }

  // Norms and rotates the lane's part in place. angles: the table's row of the token's position, rotaryDim / 2 cosines and as
  // many sines.
  __device__ __forceinline__ void turn(const float* angles) const {
    if (rotary.byPacks) return turnPacks(angles);
    const int pairs = rotary.rotaryDim / 2;
    for (int pair = lane; pair < pairs; pair += 32) {
      const int first = rotary.first(pair), second = rotary.second(pair);
      const float cosine = GPU_LOAD(angles + pair), sine = GPU_LOAD(angles + pairs + pair), a = normed(first), b = normed(second);
      head[first] = fromFloat<T>(a * cosine - b * sine);
      head[second] = fromFloat<T>(b * cosine + a * sine);
    }
    if (weight == nullptr) return;
    for (int i = rotary.rotaryDim + lane; i < headDim; i += 32) head[i] = fromFloat<T>(normed(i));
  }

 private:
  using Floats = Beside<float, T>;

  __device__ __forceinline__ Pack<T>* packs() const { return reinterpret_cast<Pack<T>*>(head); }

  __device__ __forceinline__ float normed(int i) const {
    const float x = toFloat(head[i]);
    return weight == nullptr ? x : x * scale * loadElement(weight, weightDType, i);
  }
  __device__ __forceinline__ Floats normedPack(int i) const {
    const Pack<T> pack = GPU_LOAD(packs() + i);
    Floats x;
#pragma unroll
    for (int j = 0; j < kSize; j++) x.values[j] = toFloat(pack.values[j]);
    if (weight == nullptr) return x;
    withElement(weightDType, [&](auto* w) {
      using W = Beside<Element<decltype(w)>, T>;
      const W weights = GPU_LOAD(static_cast<const W*>(weight) + i);
#pragma unroll
      for (int j = 0; j < kSize; j++) x.values[j] = x.values[j] * scale * toFloat(weights.values[j]);
    });
    return x;
  }

  __device__ __forceinline__ void turnPacks(const float* angles) const {
    const int half = rotary.rotaryDim / 2 / kSize;
    const auto* const cosines = reinterpret_cast<const Floats*>(angles);
#pragma unroll 1
    for (int i = lane; i < half; i += 32) {
      const Floats a = normedPack(i), b = normedPack(i + half), cosine = GPU_LOAD(cosines + i), sine = GPU_LOAD(cosines + half + i);
      Pack<T> first, second;
#pragma unroll
      for (int j = 0; j < kSize; j++) {
        first.values[j] = fromFloat<T>(a.values[j] * cosine.values[j] - b.values[j] * sine.values[j]);
        second.values[j] = fromFloat<T>(b.values[j] * cosine.values[j] + a.values[j] * sine.values[j]);
      }
      GPU_STORE(packs() + i, first);
      GPU_STORE(packs() + half + i, second);
    }
    if (weight == nullptr) return;
#pragma unroll 1
    for (int i = 2 * half + lane; i < headDim / kSize; i += 32) {
      const Floats x = normedPack(i);
      Pack<T> pack;
#pragma unroll
      for (int j = 0; j < kSize; j++) pack.values[j] = fromFloat<T>(x.values[j]);
      GPU_STORE(packs() + i, pack);
    }
  }
};

}  // namespace quire
