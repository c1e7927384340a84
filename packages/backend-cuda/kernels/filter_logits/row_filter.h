// What filterLogits knows of a row: its parameters, the largest logit and the sum of weights, and the monotone map from logits
// to bins.
#pragma once
#include "select.h"

namespace quire {

constexpr int kFilterThreads = 1024;
// Slices are cut by the vocabulary alone: the sum of a row's weights depends on them.
constexpr int kSliceLength = 8 * kFilterThreads;
constexpr int kBins = 2048, kListed = 8192;

// Of one slice: the largest logit, the sum of exp((x - max) / temperature), and whether a NaN or +infinity is among them.
struct SliceSum {
  float max, sum;
  uint32_t unusable;
};

// Of one sample, in the workspace. `bins` counts logits (top-k) or adds their masses (top-p), `list` takes the logits that may
// be the threshold, of which there are `listed`, perhaps more than fit.
struct RowScratch {
  uint32_t bins[kBins];
  float list[kListed];
  uint32_t listed, smallest;
};

__device__ constexpr float kMassUnit = 2147483648.0f;  // 2^31
// Logits so far below the largest that their mass is 0 whatever the others are: exp(-22) < 2^-31.
__device__ constexpr float kMassless = 22.0f;
// Logits further below the largest than this share the last bin of top-k.
__device__ constexpr float kCountedRange = 64.0f;

struct RowFilter {
  float temperature, topP, minP;
  uint32_t topK;
  bool open, limitsK;

  __device__ static RowFilter of(const uint32_t* samples, const uint32_t* rows, int sample, int vocabulary) {
    const SampleView v = viewSample(samples, rows, sample);
    RowFilter f{0, 1, 0, 0, v.open, false};
    if (!v.open) return f;
    f.temperature = v.number(Row::temperature), f.topP = v.number(Row::topP), f.minP = v.number(Row::minP), f.topK = v.word(Row::topK);
    f.limitsK = f.topK > 0 && f.topK < static_cast<uint32_t>(vocabulary);
    return f;
  }
  // Something is to be filtered.
  __device__ bool active() const { return temperature > 0 && (limitsK || topP < 1 || minP > 0); }
};

// An active row whose slices are summed up.
struct RowSums {
  RowFilter filter;
  float max, normaliser, binScale;
  bool unusable;

  __device__ static RowSums of(const RowFilter& f, const SliceSum* slices, int count) {
    RowSums r{f, -INFINITY, 0, 0, false};
    for (int i = 0; i < count; i++) r.max = fmaxf(r.max, slices[i].max), r.unusable |= slices[i].unusable != 0;
    for (int i = 0; i < count; i++) r.normaliser += slices[i].sum * expf((slices[i].max - r.max) / f.temperature);
    r.binScale = kBins / (f.limitsK ? kCountedRange : kMassless * f.temperature);
    return r;
  }
  // Its threshold needs no selection: NaN, infinity, or nothing but masked logits.
  __device__ bool isDecided() const { return unusable || !(max > MASKED_LOGIT); }
  __device__ float decided() const { return unusable ? NO_THRESHOLD : max; }

  __device__ float weight(float x) const { return expf((x - max) / filter.temperature); }
  __device__ bool passesMinP(float x) const { return x > MASKED_LOGIT && weight(x) >= filter.minP; }
  __device__ uint32_t mass(float x, float sum) const { return static_cast<uint32_t>(weight(x) / sum * kMassUnit); }
  // Falls as x rises.
  __device__ int bin(float x) const { return static_cast<int>(fminf((max - x) * binScale, kBins - 1)); }
};

// How many masses of `total` top-p takes.
__device__ __forceinline__ uint32_t goalOf(float topP, uint32_t total) { return static_cast<uint32_t>(ceil(static_cast<double>(topP) * static_cast<double>(total))); }

}  // namespace quire
