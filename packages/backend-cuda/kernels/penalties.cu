// penalties: repetition, then frequency, then presence; and with maskLogits and biasLogits in front, or only these two, all in one
// launch. Blocks share a row; each counts those of its tokens that are its own in shared memory, so that integers alone meet, in a block.
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
  int vocabulary, maskWords, biasWords, maxModelLen;
};

__global__ void processLogitsKernel(Processors p) {
  DYN_SHARED(uint32_t, count);
  waitForPrevious();
  const OwnTokens own(p.vocabulary);
  const SampleView sample = viewSample(p.samples, p.rows, blockIdx.x);
  const int64_t at = static_cast<int64_t>(blockIdx.x) * p.vocabulary;
  const float* from = p.logits + at;
  float* const to = p.out + at;
  if (p.masks != nullptr) {
    maskRow(from, to, sample, p.masks, own, p.maskWords);
    from = to;
    __syncthreads();
  }
  if (p.biases != nullptr) {
    biasRow(from, to, sample, p.biases, own, p.biasWords);
    from = to;
    __syncthreads();
  }
  if (p.tokenIds != nullptr) penaliseRow(from, to, sample, p.tokenIds, count, own, p.maxModelLen);
}

cudaError_t launch(const char* name, int samples, const Processors& p, const Step& s) {
  if (samples == 0) return cudaSuccess;
  const size_t counts = p.tokenIds == nullptr ? 0 : (p.vocabulary < kOwnTokens ? p.vocabulary : kOwnTokens) * sizeof(uint32_t);
  const dim3 grid{static_cast<unsigned>(samples), processorSlices(p.vocabulary)};
  return gpuLaunch({name, grid, {kSamplerThreads}, counts, s.stream}, processLogitsKernel, p);
}

}  // namespace

cudaError_t penalties(const Penalties& a, const Step& s) { return processLogits({}, {}, a, s); }

cudaError_t processLogits(const MaskLogits& mask, const BiasLogits& bias, const Penalties& penalties, const Step& s) {
  const Tensor& logits = mask.logits ? mask.logits : bias.logits ? bias.logits : penalties.logits;
  const Tensor& out = penalties.out ? penalties.out : bias.out;
  const Tensor& samples = penalties.samples ? penalties.samples : bias.samples;
  const Tensor& rows = penalties.rows ? penalties.rows : bias.rows;
  auto words = [](const Tensor& t) { return static_cast<int>(t.columns); };
  const Processors p{logits.as<float>(), samples.as<uint32_t>(), rows.as<uint32_t>(), mask.masks.as<uint32_t>(), bias.biases.as<uint32_t>(), penalties.tokenIds.as<uint32_t>(),
                     out.as<float>(),    words(logits),          words(mask.masks),   words(bias.biases),         words(penalties.tokenIds)};
  return launch(mask.masks || bias.biases ? "processLogits" : "penalties", logits.rows, p, s);
}

}  // namespace quire
