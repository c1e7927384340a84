// penalties: repetition, then frequency, then presence. One block per sample; counts of its tokens lie in the workspace,
// one word per token of the vocabulary: output count in the low 31 bits, the top bit says that the token occurs at all.
#include "lib/elements.h"
#include "lib/sampler.h"
#include "ops/sampling.h"

namespace quire {
namespace {

constexpr uint32_t kOccurs = 0x80000000u;

__global__ void penaltiesKernel(const float* logits, const uint32_t* samples, const uint32_t* rows, const uint32_t* tokenIds, float* out, uint32_t* counts, int vocabulary, int maxModelLen) {
  waitForPrevious();
  const int s = blockIdx.x;
  const SampleView sample = viewSample(samples, rows, s);
  const float* from = logits + static_cast<int64_t>(s) * vocabulary;
  float* to = out + static_cast<int64_t>(s) * vocabulary;
  if (!sample.open) {
    for (int id = threadIdx.x; id < vocabulary; id += blockDim.x) to[id] = from[id];
    return;
  }
  uint32_t* count = counts + static_cast<int64_t>(s) * vocabulary;
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

}  // namespace

size_t penaltiesWorkspace(const Penalties& a, const StepSizes& maxSizes) { return workspaceBytes(static_cast<size_t>(maxSizes.samples) * a.logits.columns * sizeof(uint32_t)); }

cudaError_t penalties(const Penalties& a, const Step& s) {
  if (a.logits.rows == 0) return cudaSuccess;
  return gpuLaunch({"penalties", {static_cast<unsigned>(a.logits.rows)}, {kSamplerThreads}, 0, s.stream}, penaltiesKernel, a.logits.as<float>(), a.samples.as<uint32_t>(), a.rows.as<uint32_t>(),
                   a.tokenIds.as<uint32_t>(), a.out.as<float>(), s.workspace.scratch<uint32_t>(), static_cast<int>(a.logits.columns), static_cast<int>(a.tokenIds.columns));
}

}  // namespace quire
