// Launch functions of the operations of sampling; see kernels.h.
#pragma once
#include "step.h"

namespace quire {

struct Penalties { Tensor logits, samples, rows, tokenIds, out; };
struct BiasLogits { Tensor logits, samples, rows, biases, out; };
struct MaskLogits { Tensor logits, samples, rows, masks, out; };
struct FilterLogits { Tensor logits, samples, rows, thresholds; };
struct Sample { Tensor logits, thresholds, samples, rows, sampled; };
struct Argmax { Tensor logits, samples, sampled; };
struct LogProbs { Tensor logits, samples, sampled, logprobs, logprobIds; int topN; };

cudaError_t penalties(const Penalties&, const Step&);
cudaError_t biasLogits(const BiasLogits&, const Step&);
cudaError_t maskLogits(const MaskLogits&, const Step&);
cudaError_t filterLogits(const FilterLogits&, const Step&);
cudaError_t sample(const Sample&, const Step&);
cudaError_t argmax(const Argmax&, const Step&);
cudaError_t logProbs(const LogProbs&, const Step&);

// Bytes of workspace that an operation needs at the largest sizes.
size_t filterLogitsWorkspace(const FilterLogits&, const StepSizes& maxSizes);
size_t sampleWorkspace(const StepSizes& maxSizes);
size_t argmaxWorkspace(const StepSizes& maxSizes);

}  // namespace quire
