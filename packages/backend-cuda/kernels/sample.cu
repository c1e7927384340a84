// sample: Gumbel-max over the surviving logits of each sample; greedy rows take the argmax. Blocks share a row by slices of it.
#include "lib/advance.h"
#include "lib/vocabulary.h"
#include "ops/joint.h"

namespace quire {
namespace {

__global__ void __launch_bounds__(kSamplerThreads, 3) sampleKernel(const float* logits, const float* thresholds, const uint32_t* samples, const uint32_t* rows, uint32_t* sampled, int vocabulary, Slices slices, RowAdvance advance) {
  waitForPrevious();
  const int s = blockIdx.x;
  const SampleView sample = viewSample(samples, rows, s);
  const float* row = logits + static_cast<int64_t>(s) * vocabulary;
  const float temperature = sample.open ? sample.number(Row::temperature) : 0.0f;
  const uint32_t seedLow = sample.open ? sample.word(Row::seedLow) : 0, seedHigh = sample.open ? sample.word(Row::seedHigh) : 0;
  const float threshold = thresholds[s];
  const int begin = blockIdx.y * slices.length, end = begin + slices.length < vocabulary ? begin + slices.length : vocabulary;
  ValueIndex best{-INFINITY, NONE};
  bool infinite = false;
  // Four neighbouring tokens share one call of the generator; where none of them survives, there is no call.
  forQuads(row, begin, end, [&](int id, const float(&x)[4], int count) {
    bool any = false;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (i >= count) break;
      infinite |= !isFiniteBits(x[i]);
      any |= x[i] >= threshold;
    }
    if (temperature > 0 && !any) return;
    uint4 words = make_uint4(0, 0, 0, 0);
    if (temperature > 0) words = philox(make_uint4(id / 4, sample.position, 0, 0), seedLow, seedHigh);
    const uint32_t noise[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (i >= count) break;
      if (temperature > 0) {
        if (x[i] >= threshold) best = better(best, {x[i] / temperature + gumbel(noise[i]), static_cast<unsigned>(id + i)});
      } else {
        best = better(best, {x[i], static_cast<unsigned>(id + i)});
      }
    }
  });
  launchDependents();
  if (chooseToken(slices, sample, best, infinite, sampled)) advanceBehind(advance, gridDim.x, slices.counters + kArrivals);
}

cudaError_t launch(const Sample& a, const RowAdvance& advance, const Step& s) {
  if (a.logits.rows == 0) return cudaSuccess;
  const int vocabulary = static_cast<int>(a.logits.columns);
  const Slices slices = sliceRows(a.logits.rows, vocabulary, s);
  const dim3 grid{static_cast<unsigned>(a.logits.rows), static_cast<unsigned>(slices.count)};
  return gpuLaunch({"sample", grid, {kSamplerThreads}, 0, s.stream}, sampleKernel, a.logits.as<float>(), a.thresholds.as<float>(), a.samples.as<uint32_t>(), a.rows.as<uint32_t>(), a.sampled.as<uint32_t>(),
                   vocabulary, slices, advance);
}

}  // namespace

size_t sampleWorkspace(const StepSizes& maxSizes) { return sliceWorkspace(maxSizes.samples); }

cudaError_t sample(const Sample& a, const Step& s) { return launch(a, {}, s); }

cudaError_t sampleAndAdvance(const Sample& a, const AdvanceRows& rows, const Step& s) { return launch(a, rowAdvance(rows, s.sizes.sequences), s); }

}  // namespace quire
