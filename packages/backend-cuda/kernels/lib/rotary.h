// Rotary position embedding of one pair of a head.
#pragma once
#include "elements.h"

namespace quire {

struct Rotary {
  int rotaryDim;
  bool interleaved;

  // Elements of the head that pair `pair` joins.
  __host__ __device__ __forceinline__ int first(int pair) const { return interleaved ? 2 * pair : pair; }
  __host__ __device__ __forceinline__ int second(int pair) const { return interleaved ? 2 * pair + 1 : pair + rotaryDim / 2; }
};

// Rotates a pair in place. angles: the table's row of the token's position, rotaryDim / 2 cosines and as many sines.
template <class T>
__device__ __forceinline__ void rotatePair(T* head, const float* angles, int pair, const Rotary& r) {
  T* first = head + r.first(pair);
  T* second = head + r.second(pair);
  const float cosine = GPU_LOAD(angles + pair), sine = GPU_LOAD(angles + r.rotaryDim / 2 + pair), a = toFloat(*first), b = toFloat(*second);
  *first = fromFloat<T>(a * cosine - b * sine);
  *second = fromFloat<T>(b * cosine + a * sine);
}

}  // namespace quire
