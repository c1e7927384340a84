// Rows of logits: reads of four neighbours, and rows that are cut into slices so that many blocks share one. The slices of
// a row meet in the block that arrives last.
#pragma once
#include "crew.h"
#include "elements.h"
#include "reduce.h"
#include "sampler.h"

namespace quire {

// Calls f(id, x, count) for tokens id .. id + count - 1 of begin .. end, count up to 4; begin and end are multiples of 4, or
// end is the row's.
template <class F>
__device__ __forceinline__ void forQuads(const float* row, int begin, int end, F f) {
  const bool aligned = reinterpret_cast<uintptr_t>(row) % 16 == 0;
  for (int id = begin + 4 * threadIdx.x; id < end; id += 4 * blockDim.x) {
    float x[4] = {};
    const int count = end - id < 4 ? end - id : 4;
    if (aligned && count == 4) {
      const float4 v = GPU_LOAD(reinterpret_cast<const float4*>(row + id));
      x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
    } else {
      for (int i = 0; i < count; i++) x[i] = GPU_LOAD(row + id + i);
    }
    f(id, x, count);
  }
}

// The best token of a slice, and whether its logits were finite.
struct SliceBest {
  float value;
  uint32_t index, infinite;
};

// How the rows of a launch are cut: grid (samples, slices).
struct Slices {
  int count, length;
  unsigned* counters;
  SliceBest* results;
};

constexpr int kMaxSlices = 128;
// A counter for each sample, but the last one, on which the samples of a launch arrive.
constexpr int kArrivals = static_cast<int>(kWorkspaceCounters) - 1;
// As many slices as fill the chip a few times over, each long enough to be worth a block. The best token is the same however
// a row is cut.
inline Slices sliceRows(int samples, int vocabulary, const Step& s) {
  constexpr int kLeast = 4 * kSamplerThreads;
  const int wanted = samples > kArrivals ? 1 : static_cast<int>(ceilDiv(4 * s.smCount, samples));
  const int most = static_cast<int>(ceilDiv(vocabulary, kLeast)), count = wanted < most ? wanted : most;
  const int slices = count < kMaxSlices ? count : kMaxSlices, length = static_cast<int>(ceilDiv(ceilDiv(vocabulary, slices), 4)) * 4;
  return {static_cast<int>(ceilDiv(vocabulary, length)), length, s.workspace.counters(), s.workspace.scratch<SliceBest>()};
}
inline size_t sliceWorkspace(int maxSamples) { return workspaceBytes(static_cast<size_t>(maxSamples) * kMaxSlices * sizeof(SliceBest)); }

// The token of a sample from the best tokens of its slices; by all threads of the block that took slice blockIdx.y. True in the
// one block that has written it.
__device__ __forceinline__ bool chooseToken(const Slices& slices, const SampleView& sample, ValueIndex best, bool infinite, uint32_t* sampled) {
  SHARED(float, values, 32);
  SHARED(unsigned, indices, 32);
  SHARED(unsigned, any, 1);
  SHARED(bool, last, 1);
  const int s = blockIdx.x;
  best = blockBest(best, values, indices);
  infinite = blockAny(infinite, any);
  if (slices.count > 1) {
    SliceBest* results = slices.results + static_cast<int64_t>(s) * kMaxSlices;
    if (threadIdx.x == 0) results[blockIdx.y] = {best.value, best.index, infinite};
    if (!arriveLast(slices.counters + s, slices.count, last)) return false;
    const SliceBest mine = static_cast<int>(threadIdx.x) < slices.count ? results[threadIdx.x] : SliceBest{-INFINITY, NONE, 0};
    best = blockBest({mine.value, mine.index}, values, indices);
    infinite = blockAny(mine.infinite != 0, any);
  }
  if (threadIdx.x != 0) return true;
  // Where no logit is a number above -infinity, the first token.
  const uint32_t id = sample.target != NONE ? sample.target : best.index == NONE ? 0 : best.index;
  sampled[2 * s] = sample.row == NONE ? NONE : id;
  sampled[2 * s + 1] = sample.row == NONE ? 0 : SAMPLE_LIVE | (infinite ? 0 : SAMPLE_FINITE);
  return true;
}

}  // namespace quire
