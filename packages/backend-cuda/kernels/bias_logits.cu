// biasLogits: adds a row's biases, and masks its stop ids while it must not stop. One block per sample.
#include "lib/elements.h"
#include "lib/sampler.h"
#include "ops/sampling.h"

namespace quire {
namespace {

__global__ void biasLogitsKernel(const float* logits, const uint32_t* samples, const uint32_t* rows, const uint32_t* biases, float* out, int vocabulary, int biasWords) {
  waitForPrevious();
  const int s = blockIdx.x;
  const SampleView sample = viewSample(samples, rows, s);
  const float* from = logits + static_cast<int64_t>(s) * vocabulary;
  float* to = out + static_cast<int64_t>(s) * vocabulary;
  if (from != to) {
    for (int id = threadIdx.x; id < vocabulary; id += blockDim.x) to[id] = from[id];
  }
  if (!sample.open) return;
  __syncthreads();
  const uint32_t* list = biases + static_cast<int64_t>(sample.row) * biasWords;
  const uint32_t stopIds = sample.word(Row::numStopIds), count = sample.word(Row::numBiases);
  // Ids of one list are distinct; a stop id may be biased too, and then the mask wins: it is written after the barrier.
  for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
    const uint32_t id = list[stopIds + 2 * i];
    if (id < static_cast<uint32_t>(vocabulary)) to[id] += __uint_as_float(list[stopIds + 2 * i + 1]);
  }
  __syncthreads();
  if (sample.position >= sample.word(Row::minTokensUntil)) return;
  for (uint32_t i = threadIdx.x; i < stopIds; i += blockDim.x) {
    if (list[i] < static_cast<uint32_t>(vocabulary)) to[list[i]] = MASKED_LOGIT;
  }
}

}  // namespace

cudaError_t biasLogits(const BiasLogits& a, const Step& s) {
  if (a.logits.rows == 0) return cudaSuccess;
  return gpuLaunch({"biasLogits", {static_cast<unsigned>(a.logits.rows)}, {kSamplerThreads}, 0, s.stream}, biasLogitsKernel, a.logits.as<float>(), a.samples.as<uint32_t>(), a.rows.as<uint32_t>(),
                   a.biases.as<uint32_t>(), a.out.as<float>(), static_cast<int>(a.logits.columns), static_cast<int>(a.biases.columns));
}

}  // namespace quire
