// filterLogits: the threshold of each sample under min-p, top-k and top-p. One block per sample. Radix select over the
// ordered bits of the logits, 8 bits a pass: counts for top-k, integer masses for top-p, so that no sum depends on order.
#include "lib/elements.h"
#include "lib/reduce.h"
#include "lib/sampler.h"

namespace quire {
namespace {

constexpr float kMassUnit = 2147483648.0f;  // 2^31

// The largest ordered value t for which the weights of values >= t reach `goal`. weightOf(x) is an integer; logits below
// `floor` weigh nothing. `histogram` holds 256 words of shared memory, `chosen` 3.
template <class WeightOf>
__device__ uint32_t selectThreshold(const float* row, int vocabulary, float floor, uint64_t goal, WeightOf weightOf, unsigned long long* histogram, unsigned long long* chosen) {
  uint32_t prefix = 0;
  uint64_t above = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    __syncthreads();
    for (int b = threadIdx.x; b < 256; b += blockDim.x) histogram[b] = 0;
    __syncthreads();
    const uint32_t mask = shift == 24 ? 0 : 0xffffffffu << (shift + 8);
    for (int id = threadIdx.x; id < vocabulary; id += blockDim.x) {
      const float x = row[id];
      const uint32_t bits = orderedBits(x);
      if (x >= floor && (bits & mask) == prefix) atomicAdd(histogram + (bits >> shift & 0xff), static_cast<unsigned long long>(weightOf(x)));
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      uint64_t sum = above;
      int bucket = 255;
      while (bucket > 0 && sum + histogram[bucket] < goal) sum += histogram[bucket--];
      chosen[0] = bucket;
      chosen[1] = sum;
    }
    __syncthreads();
    prefix |= static_cast<uint32_t>(chosen[0]) << shift;
    above = chosen[1];
  }
  return prefix;
}

__global__ void filterLogitsKernel(const float* logits, const uint32_t* samples, const uint32_t* rows, float* thresholds, int vocabulary) {
  SHARED(float, scratch, 32);
  SHARED(unsigned, any, 1);
  SHARED(unsigned, best, 1);
  SHARED(unsigned long long, histogram, 256);
  SHARED(unsigned long long, chosen, 3);
  waitForPrevious();
  const int s = blockIdx.x;
  const SampleView sample = viewSample(samples, rows, s);
  const float* row = logits + static_cast<int64_t>(s) * vocabulary;
  const float temperature = sample.open ? sample.number(Row::temperature) : 0.0f;
  const uint32_t topK = sample.open ? sample.word(Row::topK) : 0;
  const float topP = sample.open ? sample.number(Row::topP) : 1.0f, minP = sample.open ? sample.number(Row::minP) : 0.0f;
  const bool limitsK = topK > 0 && topK < static_cast<uint32_t>(vocabulary);
  if (temperature == 0 || !(limitsK || topP < 1 || minP > 0)) {
    if (threadIdx.x == 0) thresholds[s] = NO_THRESHOLD;
    return;
  }
  if (threadIdx.x == 0) *best = 0;
  __syncthreads();
  bool unusable = false;
  uint32_t largest = 0;
  for (int id = threadIdx.x; id < vocabulary; id += blockDim.x) {
    const float x = row[id];
    unusable |= !isFiniteBits(x) && __float_as_uint(x) != 0xff800000u;
    const uint32_t bits = orderedBits(x);
    largest = bits > largest ? bits : largest;
  }
  atomicMax(best, largest);
  unusable = blockAny(unusable, any);
  const float max = fromOrderedBits(*best);
  if (unusable || !(max > MASKED_LOGIT)) {
    if (threadIdx.x == 0) thresholds[s] = unusable ? NO_THRESHOLD : max;
    return;
  }
  // The smallest float above MASKED_LOGIT: masked logits survive only where there is nothing else.
  float floor = __uint_as_float(__float_as_uint(MASKED_LOGIT) - 1);
  auto weight = [=](float x) { return expf((x - max) / temperature); };
  if (limitsK) {
    const float kth = fromOrderedBits(selectThreshold(row, vocabulary, -INFINITY, topK, [](float) { return 1u; }, histogram, chosen));
    floor = fmaxf(floor, kth);
  }
  if (minP > 0) {
    // The smallest surviving logit, found as a minimum so that the test exp(z) >= minP itself decides.
    __syncthreads();
    if (threadIdx.x == 0) *best = orderedBits(max);
    __syncthreads();
    uint32_t smallest = orderedBits(max);
    for (int id = threadIdx.x; id < vocabulary; id += blockDim.x) {
      const float x = row[id];
      if (x >= floor && weight(x) >= minP && orderedBits(x) < smallest) smallest = orderedBits(x);
    }
    atomicMin(best, smallest);
    __syncthreads();
    floor = fromOrderedBits(*best);
  }
  if (topP < 1) {
    float sum = 0;
    for (int id = threadIdx.x; id < vocabulary; id += blockDim.x) sum += row[id] >= floor ? weight(row[id]) : 0.0f;
    const float normaliser = blockSum(sum, scratch);
    auto mass = [=](float x) { return static_cast<unsigned>(weight(x) / normaliser * kMassUnit); };
    __syncthreads();
    if (threadIdx.x == 0) chosen[2] = 0;
    __syncthreads();
    unsigned long long part = 0;
    for (int id = threadIdx.x; id < vocabulary; id += blockDim.x) part += row[id] >= floor ? mass(row[id]) : 0u;
    atomicAdd(chosen + 2, part);
    __syncthreads();
    const auto goal = static_cast<uint64_t>(ceil(static_cast<double>(topP) * static_cast<double>(chosen[2])));
    floor = fromOrderedBits(selectThreshold(row, vocabulary, floor, goal, mass, histogram, chosen));
  }
  if (!limitsK && topP >= 1 && minP <= 0) floor = NO_THRESHOLD;
  if (threadIdx.x == 0) thresholds[s] = floor;
}

}  // namespace

cudaError_t filterLogits(const FilterLogits& a, const Step& s) {
  if (a.logits.rows == 0) return cudaSuccess;
  return gpuLaunch({"filterLogits", {static_cast<unsigned>(a.logits.rows)}, {kSamplerThreads}, 0, s.stream}, filterLogitsKernel, a.logits.as<float>(), a.samples.as<uint32_t>(), a.rows.as<uint32_t>(),
                   a.thresholds.as<float>(), static_cast<int>(a.logits.columns));
}

}  // namespace quire
