// The choice of a row among experts, by one warp: for moeRoute, and for the products that choose themselves.
#pragma once
#include <cmath>

#include "elements.h"
#include "reduce.h"

namespace quire {

__device__ __forceinline__ bool follows(ValueIndex x, ValueIndex last) { return x.value < last.value || (x.value == last.value && x.index > last.index); }

// Calls take(j, logit and id) of the experts of the `chosen` largest of `count` logits, in falling order of logits and rising order of
// ids: each round finds the best expert behind the one before.
template <class Take>
__device__ __forceinline__ void chooseExperts(const float* logits, int count, int chosen, Take take) {
  ValueIndex last{INFINITY, 0};
  for (int j = 0; j < chosen; j++) {
    ValueIndex best{-INFINITY, kFullMask};
    for (int i = static_cast<int>(threadIdx.x) % 32; i < count; i += 32) {
      const ValueIndex candidate{GPU_LOAD(logits + i), static_cast<unsigned>(i)};
      if (j == 0 || follows(candidate, last)) best = better(best, candidate);
    }
    last = warpBest(best);
    // Nothing but NaN is left.
    if (last.index >= static_cast<unsigned>(count)) last.index = 0;
    take(j, last);
  }
}

// The experts of a row, and their shares of the softmax over all of them or, to normalize, over the chosen ones.
__device__ __forceinline__ void routeRow(const float* logits, uint32_t* experts, float* shares, int count, int chosen, bool normalize) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float largest = 0, total = 0;
  chooseExperts(logits, count, chosen, [&](int j, ValueIndex expert) {
    if (j == 0) largest = expert.value;
    total += expf(expert.value - largest);
    if (lane == 0) {
      experts[j] = expert.index;
      shares[j] = expf(expert.value - largest);
    }
  });
  if (!normalize) {
    float sum = 0;
    for (int i = lane; i < count; i += 32) sum += expf(logits[i] - largest);
    total = warpSum(sum);
  }
  if (lane == 0) {
    for (int j = 0; j < chosen; j++) shares[j] /= total;
  }
}

}  // namespace quire
