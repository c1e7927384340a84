// penalties: repetition, then frequency, then presence; and with maskLogits and biasLogits in front, or only these two, all in one
// launch. One block per sample; counts of its tokens lie in the workspace, one word per token of the vocabulary.
#include "lib/elements.h"
#include "lib/logit_processors.h"
#include "ops/joint.h"

namespace quire {
namespace {

// What is null is left out. The first that is there reads `logits`, those behind it `out`.
struct Processors {
  const float* logits;
  const uint32_t *samples, *rows, *masks, *biases, *tokenIds;
  float* out;
  uint32_t* counts;
  int vocabulary, maskWords, biasWords, maxModelLen;
};

__global__ void processLogitsKernel(Processors p) {
  waitForPrevious();
  const SampleView sample = viewSample(p.samples, p.rows, blockIdx.x);
  const int64_t at = static_cast<int64_t>(blockIdx.x) * p.vocabulary;
  const float* from = p.logits + at;
  float* const to = p.out + at;
  if (p.masks != nullptr) {
    maskRow(from, to, sample, p.masks, p.vocabulary, p.maskWords);
    from = to;
    __syncthreads();
  }
  if (p.biases != nullptr) {
    biasRow(from, to, sample, p.biases, p.vocabulary, p.biasWords);
    from = to;
    __syncthreads();
  }
  if (p.tokenIds != nullptr) penaliseRow(from, to, sample, p.tokenIds, p.counts + at, p.vocabulary, p.maxModelLen);
}

cudaError_t launch(const char* name, int samples, const Processors& p, const Step& s) {
  if (samples == 0) return cudaSuccess;
  return gpuLaunch({name, {static_cast<unsigned>(samples)}, {kSamplerThreads}, 0, s.stream}, processLogitsKernel, p);
}

}  // namespace

size_t penaltiesWorkspace(const Penalties& a, const StepSizes& maxSizes) { return workspaceBytes(static_cast<size_t>(maxSizes.samples) * a.logits.columns * sizeof(uint32_t)); }

cudaError_t penalties(const Penalties& a, const Step& s) { return processLogits({}, {}, a, s); }

cudaError_t processLogits(const MaskLogits& mask, const BiasLogits& bias, const Penalties& penalties, const Step& s) {
  const Tensor& logits = mask.logits ? mask.logits : bias.logits ? bias.logits : penalties.logits;
  const Tensor& out = penalties.out ? penalties.out : bias.out;
  const Tensor& samples = penalties.samples ? penalties.samples : bias.samples;
  const Tensor& rows = penalties.rows ? penalties.rows : bias.rows;
  auto words = [](const Tensor& t) { return static_cast<int>(t.columns); };
  const Processors p{logits.as<float>(), samples.as<uint32_t>(),        rows.as<uint32_t>(), mask.masks.as<uint32_t>(), bias.biases.as<uint32_t>(), penalties.tokenIds.as<uint32_t>(),
                     out.as<float>(),    s.workspace.scratch<uint32_t>(), words(logits),     words(mask.masks),         words(bias.biases),         words(penalties.tokenIds)};
  return launch(mask.masks || bias.biases ? "processLogits" : "penalties", logits.rows, p, s);
}

}  // namespace quire
