// filterLogits: the threshold of each sample under top-k, min-p and top-p. One cooperative launch; its blocks share the rows by
// slices, in three passes with a grid barrier between:
//   1  the largest logit and the sum of weights of each slice
//   2  a histogram per row over a monotone map of the logits: counts for top-k, integer masses for top-p
//   3  a list of the logits that may be the threshold: for top-k all down to the bin in which it lies, for top-p that bin's
// The last block to finish a row's third pass selects its threshold from the list, or from the row where the list overflowed.
// So a row is read three times at most. Integer sums do not depend on any order; the one sum of floats is cut by the vocabulary.
#include "../lib/crew.h"
#include "row_filter.h"
#include "../ops/sampling.h"

namespace quire {
namespace {

struct Problem {
  const float* logits;
  const uint32_t *samples, *rows;
  float* thresholds;
  int count, vocabulary, slices;
  unsigned *barrier, *counters;
  SliceSum* sums;
  RowScratch* scratch;

  __device__ const float* row(int sample) const { return logits + static_cast<int64_t>(sample) * vocabulary; }
  __device__ const SliceSum* sumsOf(int sample) const { return sums + static_cast<int64_t>(sample) * slices; }
  __device__ RowFilter filter(int sample) const { return RowFilter::of(samples, rows, sample, vocabulary); }
  template <class F>
  __device__ void forSlice(int sample, int slice, F f) const {
    const int begin = slice * kSliceLength, end = begin + kSliceLength < vocabulary ? begin + kSliceLength : vocabulary;
    forQuads(row(sample), begin, end, [&](int, const float(&x)[4], int n) {
      for (int i = 0; i < n; i++) f(x[i]);
    });
  }
};

struct Shared {
  uint32_t *bins, *scratch;
  float* values;
};

// A maximum, and a sum of exponentials relative to it.
struct MaxSum {
  float max, sum;
  __device__ void add(float x, float temperature) {
    if (x > max) sum = sum * expf((max - x) / temperature) + 1, max = x;
    else if (x > -INFINITY) sum += expf((x - max) / temperature);
  }
  __device__ void merge(float otherMax, float otherSum, float temperature) {
    const float m = fmaxf(max, otherMax);
    if (m == -INFINITY) return;
    sum = sum * expf((max - m) / temperature) + otherSum * expf((otherMax - m) / temperature);
    max = m;
  }
};

__device__ void summarise(const Problem& p, const Shared& shared, int sample, int slice) {
  RowScratch& scratch = p.scratch[sample];
  if (slice == 0) {
    for (int b = threadIdx.x; b < kBins; b += kFilterThreads) scratch.bins[b] = 0;
    if (threadIdx.x == 0) scratch.listed = 0, scratch.smallest = 0xffffffffu;
  }
  const RowFilter f = p.filter(sample);
  if (!f.active()) {
    if (slice == 0 && threadIdx.x == 0) p.thresholds[sample] = NO_THRESHOLD;
    return;
  }
  MaxSum mine{-INFINITY, 0};
  bool unusable = false;
  p.forSlice(sample, slice, [&](float x) {
    unusable |= !isFiniteBits(x) && __float_as_uint(x) != 0xff800000u;
    mine.add(x, f.temperature);
  });
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  auto mergeWarp = [&] {
    for (int by = 16; by > 0; by /= 2) {
      const float max = __shfl_down_sync(kFullMask, mine.max, by), sum = __shfl_down_sync(kFullMask, mine.sum, by);
      mine.merge(max, sum, f.temperature);
    }
  };
  mergeWarp();
  unusable = __any_sync(kFullMask, unusable);
  __syncthreads();
  if (lane == 0) shared.values[warp] = mine.max, shared.values[32 + warp] = mine.sum, shared.scratch[warp] = unusable;
  __syncthreads();
  if (warp > 0) return;
  mine = {shared.values[lane], shared.values[32 + lane]};
  mergeWarp();
  unusable = __any_sync(kFullMask, shared.scratch[lane] != 0);
  if (lane == 0) p.sums[static_cast<int64_t>(sample) * p.slices + slice] = {mine.max, mine.sum, unusable};
}

// Calls f(sums) for a sample whose threshold must be selected; the others are settled here.
template <class F>
__device__ void forUndecided(const Problem& p, int sample, int slice, F f) {
  const RowFilter filter = p.filter(sample);
  if (!filter.active()) return;
  const RowSums sums = RowSums::of(filter, p.sumsOf(sample), p.slices);
  if (!sums.isDecided()) return f(sums);
  if (slice == 0 && threadIdx.x == 0) p.thresholds[sample] = sums.decided();
}

__device__ void count(const Problem& p, const Shared& shared, int sample, int slice) {
  forUndecided(p, sample, slice, [&](const RowSums& r) {
    const RowFilter& f = r.filter;
    RowScratch& scratch = p.scratch[sample];
    __syncthreads();
    for (int b = threadIdx.x; b < kBins; b += kFilterThreads) shared.bins[b] = 0;
    __syncthreads();
    uint32_t smallest = 0xffffffffu;
    p.forSlice(sample, slice, [&](float x) {
      if (f.limitsK) {
        atomicAdd(shared.bins + r.bin(x), 1u);
      } else if (r.passesMinP(x)) {
        const uint32_t bits = orderedBits(x);
        smallest = bits < smallest ? bits : smallest;
        if (f.topP < 1) {
          if (const uint32_t m = r.mass(x, r.normaliser); m > 0) atomicAdd(shared.bins + r.bin(x), m);
        }
      }
    });
    __syncthreads();
    for (int b = threadIdx.x; b < kBins; b += kFilterThreads) {
      if (shared.bins[b] > 0) atomicAdd(scratch.bins + b, shared.bins[b]);
    }
    if (f.limitsK || f.topP < 1) return;
    smallest = __reduce_min_sync(kFullMask, smallest);
    if (threadIdx.x % 32 == 0 && smallest != 0xffffffffu) atomicMin(&scratch.smallest, smallest);
  });
}

// The bin in which the threshold lies, and what of the goal it must bring itself.
__device__ Crossing crossingOf(const RowSums& r, const RowScratch& scratch, uint32_t& goal, const Shared& shared) {
  goal = r.filter.topK;
  if (!r.filter.limitsK) {
    const int first = 2 * threadIdx.x;
    const uint32_t upTo = blockPrefix(scratch.bins[first] + scratch.bins[first + 1], shared.scratch);
    if (threadIdx.x == kFilterThreads - 1) shared.bins[0] = upTo;
    __syncthreads();
    goal = goalOf(r.filter.topP, shared.bins[0]);
    __syncthreads();
  }
  const Crossing crossing = findCrossing(scratch.bins, kBins, goal, shared.scratch);
  goal -= crossing.before;
  return crossing;
}

// A logit that may be the threshold, or, with top-k, lies above it.
__device__ __forceinline__ bool isCandidate(const RowSums& r, float x, uint32_t bin) {
  return r.filter.limitsK ? r.bin(x) <= static_cast<int>(bin) : r.passesMinP(x) && r.bin(x) == static_cast<int>(bin);
}

// Threshold of a row with top-k, then min-p and top-p among what survives.
template <class ForEach>
__device__ float selectWithTopK(const RowSums& r, ForEach forEach, const Shared& shared) {
  const RowFilter& f = r.filter;
  float floor = selectThreshold(forEach, [](float) { return 1u; }, f.topK, shared.bins, shared.scratch);
  auto survivors = [&](auto use) {
    forEach([&](float x) {
      if (x >= floor && r.passesMinP(x)) use(x);
    });
  };
  // The smallest survivor: masked logits and those below min-p are none.
  if (threadIdx.x == 0) shared.bins[0] = 0xffffffffu;
  __syncthreads();
  survivors([&](float x) { atomicMin(shared.bins, orderedBits(x)); });
  __syncthreads();
  floor = fromOrderedBits(shared.bins[0]);
  if (f.topP >= 1) return floor;
  // In units of 2^-40 of the largest weight, so that the sum does not depend on the order.
  auto* sum = reinterpret_cast<unsigned long long*>(shared.values);
  __syncthreads();
  if (threadIdx.x == 0) *sum = 0, shared.bins[0] = 0;
  __syncthreads();
  unsigned long long part = 0;
  survivors([&](float x) { part += static_cast<unsigned long long>(r.weight(x) * 0x1p40f); });
  if (part > 0) atomicAdd(sum, part);
  __syncthreads();
  const float normaliser = static_cast<float>(*sum) * 0x1p-40f;
  uint32_t masses = 0;
  survivors([&](float x) { masses += r.mass(x, normaliser); });
  if (masses > 0) atomicAdd(shared.bins, masses);
  __syncthreads();
  const uint32_t goal = goalOf(f.topP, shared.bins[0]);
  __syncthreads();
  return selectThreshold(survivors, [&](float x) { return r.mass(x, normaliser); }, goal, shared.bins, shared.scratch);
}

template <class ForEach>
__device__ float selectFrom(const RowSums& r, uint32_t goal, ForEach forEach, const Shared& shared) {
  if (r.filter.limitsK) return selectWithTopK(r, forEach, shared);
  return selectThreshold(forEach, [&](float x) { return r.mass(x, r.normaliser); }, goal, shared.bins, shared.scratch);
}

__device__ void gather(const Problem& p, const Shared& shared, int sample, int slice, bool* last) {
  forUndecided(p, sample, slice, [&](const RowSums& r) {
    RowScratch& scratch = p.scratch[sample];
    if (!r.filter.limitsK && r.filter.topP >= 1) {
      if (slice == 0 && threadIdx.x == 0) p.thresholds[sample] = fromOrderedBits(scratch.smallest);
      return;
    }
    uint32_t goal;
    const uint32_t bin = crossingOf(r, scratch, goal, shared).bin;
    p.forSlice(sample, slice, [&](float x) {
      if (!isCandidate(r, x, bin)) return;
      const uint32_t at = atomicAdd(&scratch.listed, 1u);
      if (at < kListed) scratch.list[at] = x;
    });
    if (!arriveLast(p.counters + sample, p.slices, last)) return;
    const uint32_t listed = scratch.listed;
    auto fromList = [&](auto use) {
      for (uint32_t i = threadIdx.x; i < listed; i += kFilterThreads) use(scratch.list[i]);
    };
    auto fromRow = [&](auto use) {
      for (int i = threadIdx.x; i < p.vocabulary; i += kFilterThreads) {
        const float x = p.row(sample)[i];
        if (isCandidate(r, x, bin)) use(x);
      }
    };
    const float threshold = listed <= kListed ? selectFrom(r, goal, fromList, shared) : selectFrom(r, goal, fromRow, shared);
    if (threadIdx.x == 0) p.thresholds[sample] = threshold;
  });
}

__global__ void __launch_bounds__(kFilterThreads, 1) filterLogitsKernel(Problem p) {
  SHARED(uint32_t, bins, kBins);
  SHARED(uint32_t, scratch, 34);
  SHARED(float, values, 64);
  SHARED(bool, last, 1);
  const Shared shared{bins, scratch, values};
  waitForPrevious();
  auto forItems = [&](auto use) {
    for (int i = blockIdx.x; i < p.count * p.slices; i += gridDim.x) use(i / p.slices, i % p.slices);
  };
  forItems([&](int sample, int slice) { summarise(p, shared, sample, slice); });
  gridBarrier(p.barrier);
  forItems([&](int sample, int slice) { count(p, shared, sample, slice); });
  gridBarrier(p.barrier);
  forItems([&](int sample, int slice) { gather(p, shared, sample, slice, last); });
}

int slicesOf(int vocabulary) { return static_cast<int>(ceilDiv(vocabulary, kSliceLength)); }
// One counter is the grid barrier's.
constexpr int kMostSamples = static_cast<int>(kWorkspaceCounters) - 1;

}  // namespace

size_t filterLogitsWorkspace(const FilterLogits& a, const StepSizes& maxSizes) {
  const int samples = maxSizes.samples < kMostSamples ? maxSizes.samples : kMostSamples;
  return workspaceBytes(static_cast<size_t>(samples) * (sizeof(RowScratch) + slicesOf(static_cast<int>(a.logits.columns)) * sizeof(SliceSum)));
}

cudaError_t filterLogits(const FilterLogits& a, const Step& s) {
  const int vocabulary = static_cast<int>(a.logits.columns), slices = slicesOf(vocabulary);
  for (int first = 0; first < a.logits.rows; first += kMostSamples) {
    const int count = a.logits.rows - first < kMostSamples ? a.logits.rows - first : kMostSamples;
    RowScratch* scratch = s.workspace.scratch<RowScratch>();
    const Problem p{a.logits.as<float>() + static_cast<int64_t>(first) * vocabulary, a.samples.as<uint32_t>() + first * SAMPLE_WORDS, a.rows.as<uint32_t>(), a.thresholds.as<float>() + first, count, vocabulary, slices,
                    s.workspace.counters(), s.workspace.counters() + 1, reinterpret_cast<SliceSum*>(scratch + count), scratch};
    const int64_t items = static_cast<int64_t>(count) * slices;
    const unsigned blocks = static_cast<unsigned>(items < s.smCount ? items : s.smCount);
    const GpuLaunch l{"filterLogits", {blocks}, {kFilterThreads}, 0, s.stream, true};
    if (const cudaError_t e = gpuLaunch(l, filterLogitsKernel, p); e != cudaSuccess) return e;
  }
  return cudaSuccess;
}

}  // namespace quire
