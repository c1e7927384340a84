// The samples of a sequence, for prepareSamples alone and behind prepareInputs.
#pragma once
#include "gpu.h"
#include "row_state.h"

namespace quire {

__device__ __forceinline__ void writeSample(uint32_t* record, uint32_t token, uint32_t row, uint32_t position, uint32_t target) {
  record[SampleWord::token] = token;
  record[SampleWord::row] = row;
  record[SampleWord::position] = position;
  record[SampleWord::target] = target;
}

// The samples of a sequence from its record, by all threads of a block.
__device__ __forceinline__ void writeSamples(uint32_t* samples, const uint32_t (&q)[SEQUENCE_WORDS], const uint32_t* tokenIds, int maxModelLen) {
  const bool live = q[Sequence::contextLen] > 0;
  const uint32_t count = q[Sequence::sampleCount], skipped = q[Sequence::queryLen] - count;
  for (uint32_t j = threadIdx.x; j < count; j += blockDim.x) {
    uint32_t* record = samples + (q[Sequence::sampleStart] + j) * SAMPLE_WORDS;
    const uint32_t position = q[Sequence::firstPosition] + skipped + j + 1;
    const bool known = live && position < q[Sequence::numTokens];
    const uint32_t target = known ? tokenIds[static_cast<int64_t>(q[Sequence::row]) * maxModelLen + position] : NONE;
    if (live) writeSample(record, q[Sequence::queryStart] + skipped + j, q[Sequence::row], position, target);
    else writeSample(record, 0, NONE, 0, NONE);
  }
}

// The padding behind the samples of a batch, by all threads of a block.
__device__ __forceinline__ void padSamples(uint32_t* samples, const uint32_t* batch, int numSamples) {
  for (int i = batch[BatchHeader::numSamples] + threadIdx.x; i < numSamples; i += blockDim.x) writeSample(samples + i * SAMPLE_WORDS, 0, NONE, 0, NONE);
}

}  // namespace quire
