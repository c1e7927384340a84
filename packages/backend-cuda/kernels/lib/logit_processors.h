// maskLogits, biasLogits and penalties of one sample: for their own kernels, and for one that does several of them. Blocks share a row
// of logits: grid (samples, processorSlices).
#pragma once
#include "../ops/sampling.h"
#include "gpu.h"
#include "sampler.h"

namespace quire {

// Tokens of the vocabulary that a block works on. No token is another block's too, so the blocks of a row need not know of each other.
constexpr int kOwnTokens = 8192;
inline unsigned processorSlices(int vocabulary) { return static_cast<unsigned>((vocabulary + kOwnTokens - 1) / kOwnTokens); }

struct OwnTokens {
  int begin, end;
  __device__ __forceinline__ explicit OwnTokens(int vocabulary) : begin(static_cast<int>(blockIdx.y) * kOwnTokens), end(begin + kOwnTokens < vocabulary ? begin + kOwnTokens : vocabulary) {}
  __device__ __forceinline__ bool has(uint32_t id) const { return id >= static_cast<uint32_t>(begin) && id < static_cast<uint32_t>(end); }
};

// Each thread reads an id before it writes it, so `to` may be `from`.
__device__ __forceinline__ void maskRow(const float* from, float* to, const SampleView& sample, const uint32_t* masks, const OwnTokens& own, int maskWords) {
  const bool masked = sample.open && sample.word(Row::masked) != 0;
  const uint32_t* mask = masked ? masks + static_cast<int64_t>(sample.row) * maskWords : masks;
  if (!masked && from == to) return;
  for (int id = own.begin + threadIdx.x; id < own.end; id += blockDim.x) {
    const bool allowed = !masked || (mask[id / 32] >> (id % 32) & 1u) != 0;
    to[id] = allowed ? from[id] : MASKED_LOGIT;
  }
}

__device__ __forceinline__ void biasRow(const float* from, float* to, const SampleView& sample, const uint32_t* biases, const OwnTokens& own, int biasWords) {
  if (from != to) {
    for (int id = own.begin + threadIdx.x; id < own.end; id += blockDim.x) to[id] = from[id];
  }
  if (!sample.open) return;
  __syncthreads();
  const uint32_t* list = biases + static_cast<int64_t>(sample.row) * biasWords;
  const uint32_t stopIds = sample.word(Row::numStopIds), count = sample.word(Row::numBiases);
  // Ids of one list are distinct; a stop id may be biased too, and then the mask wins: it is written after the barrier.
  for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
    const uint32_t id = list[stopIds + 2 * i];
    if (own.has(id)) to[id] += __uint_as_float(list[stopIds + 2 * i + 1]);
  }
  __syncthreads();
  if (sample.position >= sample.word(Row::minTokensUntil)) return;
  for (uint32_t i = threadIdx.x; i < stopIds; i += blockDim.x) {
    if (own.has(list[i])) to[list[i]] = MASKED_LOGIT;
  }
}

// Of a token in `count`: its count in the output in the low 31 bits, and that it occurs at all in this one.
constexpr uint32_t kOccurs = 0x80000000u;

// `count` holds a word in shared memory for each of the block's tokens, of any value. Every block of a row goes through its tokens.
// `to` may be `from`.
__device__ __forceinline__ void penaliseRow(const float* from, float* to, const SampleView& sample, const uint32_t* tokenIds, uint32_t* count, const OwnTokens& own, int maxModelLen) {
  if (!sample.open) {
    for (int id = own.begin + threadIdx.x; id < own.end; id += blockDim.x) to[id] = from[id];
    return;
  }
  for (int id = own.begin + threadIdx.x; id < own.end; id += blockDim.x) count[id - own.begin] = 0;
  __syncthreads();
  const uint32_t* ids = tokenIds + static_cast<int64_t>(sample.row) * maxModelLen;
  const uint32_t prompt = sample.word(Row::promptTokens);
  for (uint32_t p = threadIdx.x; p < sample.position; p += blockDim.x) {
    const uint32_t id = ids[p];
    if (!own.has(id)) continue;
    atomicOr(count + (id - own.begin), kOccurs);
    if (p >= prompt) atomicAdd(count + (id - own.begin), 1u);
  }
  __syncthreads();
  const float repetition = sample.number(Row::repetitionPenalty), frequency = sample.number(Row::frequencyPenalty), presence = sample.number(Row::presencePenalty);
  for (int id = own.begin + threadIdx.x; id < own.end; id += blockDim.x) {
    float x = from[id];
    const uint32_t occurrences = count[id - own.begin];
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
