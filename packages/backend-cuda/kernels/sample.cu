// sample: Gumbel-max over the surviving logits of each sample; greedy rows take the argmax. One block per sample.
#include "lib/elements.h"
#include "lib/reduce.h"
#include "lib/sampler.h"

namespace quire {
namespace {

__global__ void sampleKernel(const float* logits, const float* thresholds, const uint32_t* samples, const uint32_t* rows, uint32_t* sampled, int vocabulary) {
  SHARED(float, values, 32);
  SHARED(unsigned, indices, 32);
  SHARED(unsigned, any, 1);
  waitForPrevious();
  const int s = blockIdx.x;
  const SampleView sample = viewSample(samples, rows, s);
  const float* row = logits + static_cast<int64_t>(s) * vocabulary;
  const float temperature = sample.open ? sample.number(Row::temperature) : 0.0f;
  const uint32_t seedLow = sample.open ? sample.word(Row::seedLow) : 0, seedHigh = sample.open ? sample.word(Row::seedHigh) : 0;
  const float threshold = thresholds[s];
  ValueIndex best{-INFINITY, 0};
  bool infinite = false;
  // Four neighbouring tokens share one call of the generator.
  for (int id0 = threadIdx.x * 4; id0 < vocabulary; id0 += blockDim.x * 4) {
    uint4 words = make_uint4(0, 0, 0, 0);
    if (temperature > 0) words = philox(make_uint4(id0 / 4, sample.position, 0, 0), seedLow, seedHigh);
    const uint32_t noise[4] = {words.x, words.y, words.z, words.w};
    for (int i = 0; i < 4 && id0 + i < vocabulary; i++) {
      const float x = GPU_LOAD(row + id0 + i);
      infinite |= !isFiniteBits(x);
      if (temperature > 0) {
        if (x >= threshold) best = better(best, {x / temperature + gumbel(noise[i]), static_cast<unsigned>(id0 + i)});
      } else {
        best = better(best, {x, static_cast<unsigned>(id0 + i)});
      }
    }
  }
  best = blockBest(best, values, indices);
  infinite = blockAny(infinite, any);
  if (threadIdx.x != 0) return;
  const uint32_t id = sample.target != NONE ? sample.target : best.index;
  sampled[2 * s] = sample.row == NONE ? NONE : id;
  sampled[2 * s + 1] = sample.row == NONE ? 0 : SAMPLE_LIVE | (infinite ? 0 : SAMPLE_FINITE);
}

}  // namespace

cudaError_t sample(const Sample& a, const Step& s) {
  if (a.logits.rows == 0) return cudaSuccess;
  return gpuLaunch({"sample", {static_cast<unsigned>(a.logits.rows)}, {kSamplerThreads}, 0, s.stream}, sampleKernel, a.logits.as<float>(), a.thresholds.as<float>(), a.samples.as<uint32_t>(),
                   a.rows.as<uint32_t>(), a.sampled.as<uint32_t>(), static_cast<int>(a.logits.columns));
}

}  // namespace quire
