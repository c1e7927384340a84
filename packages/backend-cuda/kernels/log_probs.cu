// logProbs: log-softmax of the chosen token, its rank, and the topN largest with their ids. One block per sample; the topN
// come one by one, each the best below the one before.
#include "lib/advance.h"
#include "lib/elements.h"
#include "lib/reduce.h"
#include "lib/sampler.h"
#include "ops/joint.h"

namespace quire {
namespace {

__device__ __forceinline__ void writeLogProbs(const float* logits, const uint32_t* samples, const uint32_t* sampled, float* logprobs, uint32_t* ids, int vocabulary, int topN) {
  SHARED(float, scratch, 32);
  SHARED(unsigned, indices, 32);
  const int s = blockIdx.x;
  const float* row = logits + static_cast<int64_t>(s) * vocabulary;
  float* outValues = logprobs + static_cast<int64_t>(s) * (1 + topN);
  uint32_t* outIds = ids + static_cast<int64_t>(s) * (2 + topN);
  if (samples[s * SAMPLE_WORDS + SampleWord::row] == NONE) {
    for (int i = threadIdx.x; i < 1 + topN; i += blockDim.x) outValues[i] = 0;
    for (int i = threadIdx.x; i < 2 + topN; i += blockDim.x) outIds[i] = 0;
    return;
  }
  const uint32_t chosen = sampled[2 * s];
  const float chosenLogit = row[chosen];
  ValueIndex best{-INFINITY, 0};
  float greater = 0;  // counts are exact in f32 up to 2^24 tokens
  for (int id = threadIdx.x; id < vocabulary; id += blockDim.x) {
    best = better(best, {row[id], static_cast<unsigned>(id)});
    greater += row[id] > chosenLogit ? 1.0f : 0.0f;
  }
  best = blockBest(best, scratch, indices);
  const float rank = 1.0f + blockSum(greater, scratch);
  float sum = 0;
  for (int id = threadIdx.x; id < vocabulary; id += blockDim.x) sum += expf(row[id] - best.value);
  const float logSum = logf(blockSum(sum, scratch));
  if (threadIdx.x == 0) {
    outValues[0] = chosenLogit - best.value - logSum;
    outIds[0] = chosen;
    outIds[1] = static_cast<uint32_t>(rank);
  }
  const float max = best.value;
  for (int i = 0; i < topN; i++) {
    if (threadIdx.x == 0) {
      outValues[1 + i] = best.value - max - logSum;
      outIds[2 + i] = best.index;
    }
    const ValueIndex previous = best;
    best = {-INFINITY, 0xffffffffu};
    for (int id = threadIdx.x; id < vocabulary; id += blockDim.x) {
      const float x = row[id];
      const bool after = x < previous.value || (x == previous.value && static_cast<unsigned>(id) > previous.index);
      if (after) best = better(best, {x, static_cast<unsigned>(id)});
    }
    best = blockBest(best, scratch, indices);
  }
}

__global__ void logProbsKernel(const float* logits, const uint32_t* samples, const uint32_t* sampled, float* logprobs, uint32_t* ids, int vocabulary, int topN, RowAdvance advance, unsigned* counter) {
  waitForPrevious();
  writeLogProbs(logits, samples, sampled, logprobs, ids, vocabulary, topN);
  advanceBehind(advance, gridDim.x, counter);
}

cudaError_t launch(const LogProbs& a, const RowAdvance& advance, const Step& s) {
  if (a.logits.rows == 0) return cudaSuccess;
  return gpuLaunch({"logProbs", {static_cast<unsigned>(a.logits.rows)}, {kSamplerThreads}, 0, s.stream}, logProbsKernel, a.logits.as<float>(), a.samples.as<uint32_t>(), a.sampled.as<uint32_t>(),
                   a.logprobs.as<float>(), a.logprobIds.as<uint32_t>(), static_cast<int>(a.logits.columns), a.topN, advance, s.workspace.counters());
}

}  // namespace

size_t logProbsAndAdvanceWorkspace() { return workspaceBytes(0); }

cudaError_t logProbs(const LogProbs& a, const Step& s) { return launch(a, {}, s); }

cudaError_t logProbsAndAdvance(const LogProbs& a, const AdvanceRows& rows, const Step& s) { return launch(a, rowAdvance(rows, s.sizes.sequences), s); }

}  // namespace quire
