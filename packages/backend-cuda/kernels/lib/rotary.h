// RMS norm and rotary position embedding of one head, by a warp.
#pragma once
#include "../ops/attention.h"
#include "elements.h"
#include "reduce.h"

namespace quire {

struct Rotary {
  int rotaryDim;
  bool interleaved;

  // Elements of the head that pair `pair` joins.
  __host__ __device__ __forceinline__ int first(int pair) const { return interleaved ? 2 * pair : pair; }
  __host__ __device__ __forceinline__ int second(int pair) const { return interleaved ? 2 * pair + 1 : pair + rotaryDim / 2; }
};

// The norms of an op's heads, as kernels take them.
struct NormWeights {
  const void* query;
  const void* key;
  DType dtype;
  float eps;
};
inline NormWeights normWeights(const HeadNorms& n) { return {n.qNorm.data, n.kNorm.data, n.qNorm.dtype, n.eps}; }

// One head, headDim elements in memory. A lane touches its own pairs, and its own elements behind them, and no others.
template <class T>
struct RotaryHead {
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
    for (int pair = lane; pair < rotary.rotaryDim / 2; pair += 32) squares += square(rotary.first(pair)) + square(rotary.second(pair));
    for (int i = rotary.rotaryDim + lane; i < headDim; i += 32) squares += square(i);
    scale = rsqrtf(warpSum(squares) / headDim + n.eps);
  }

  __device__ __forceinline__ float square(int i) const {
    const float x = toFloat(head[i]);
    return x * x;
  }
  __device__ __forceinline__ float normed(int i) const {
    const float x = toFloat(head[i]);
    return weight == nullptr ? x : x * scale * loadElement(weight, weightDType, i);
  }

  // Norms and rotates the lane's part in place. angles: the table's row of the token's position, rotaryDim / 2 cosines and as
  // many sines.
  __device__ __forceinline__ void turn(const float* angles) const {
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
};

}  // namespace quire
