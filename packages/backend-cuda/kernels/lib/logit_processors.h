// maskLogits, biasLogits and penalties of one sample, by a block: for their own kernels, and for one that does several of them.
#pragma once
#include "../ops/sampling.h"
#include "gpu.h"
#include "sampler.h"

namespace quire {

// Each thread reads an id before it writes it, so `to` may be `from`.
__device__ __forceinline__ void maskRow(const float* from, float* to, const SampleView& sample, const uint32_t* masks, int vocabulary, int maskWords) {
  const bool masked = sample.open && sample.word(Row::masked) != 0;
  const uint32_t* mask = masked ? masks + static_cast<int64_t>(sample.row) * maskWords : masks;
  if (!masked && from == to) return;
  for (int id = threadIdx.x; id < vocabulary; id += blockDim.x) {
    const bool allowed = !masked || (mask[id / 32] >> (id % 32) & 1u) != 0;
    to[id] = allowed ? from[id] : MASKED_LOGIT;
  }
}

__device__ __forceinline__ void biasRow(const float* from, float* to, const SampleView& sample, const uint32_t* biases, int vocabulary, int biasWords) {
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

// Of a token in `count`: its count in the output in the low 31 bits, and that it occurs at all in this one.
constexpr uint32_t kOccurs = 0x80000000u;

// `count` holds a word for each token of the vocabulary, of any value. `to` may be `from`.
__device__ __forceinline__ void penaliseRow(const float* from, float* to, const SampleView& sample, const uint32_t* tokenIds, uint32_t* count, int vocabulary, int maxModelLen) {
  if (!sample.open) {
    for (int id = threadIdx.x; id < vocabulary; id += blockDim.x) to[id] = from[id];
    return;
  }
  for (int id = threadIdx.x; id < vocabulary; id += blockDim.x) count[id] = 0;
  __syncthreads();
  const uint32_t* ids = tokenIds + static_cast<int64_t>(sample.row) * maxModelLen;
  const uint32_t prompt = sample.word(Row::promptTokens);
  for (uint32_t p = threadIdx.x; p < sample.position; p += blockDim.x) {
    if (ids[p] >= static_cast<uint32_t>(vocabulary)) continue;
    atomicOr(count + ids[p], kOccurs);
    if (p >= prompt) atomicAdd(count + ids[p], 1u);
  }
  __syncthreads();
  const float repetition = sample.number(Row::repetitionPenalty), frequency = sample.number(Row::frequencyPenalty), presence = sample.number(Row::presencePenalty);
  for (int id = threadIdx.x; id < vocabulary; id += blockDim.x) {
    float x = from[id];
    const uint32_t occurrences = count[id];
    if (occurrences != 0 && x > MASKED_LOGIT) {
      x = x > 0 ? x / repetition : x * repetition;
      const uint32_t inOutput = occurrences & ~kOccurs;
      x -= frequency * inOutput;
      if (inOutput > 0) x -= presence;
    }
    to[id] = x;
  }
}

}  // namespace quire
