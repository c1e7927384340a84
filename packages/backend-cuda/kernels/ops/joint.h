// Launch functions of neighbouring operations that share a launch, with the bits of the operations one by one; see kernels.h.
#pragma once
#include "layers.h"
#include "linear.h"
#include "rows.h"
#include "sampling.h"

namespace quire {

// The rmsNorm, or centred the layerNorm, of a linear layer's x.
struct InputNorm { Tensor weight, bias; float eps = 0; bool centred = false; };
// Whether one launch can norm x and multiply it: few rows of it.
bool takesNorm(const Linear&, const InputNorm&);
bool takesNorm(const GatedLinear&, const InputNorm&);
// linear or gatedLinear of the norm of x, where takesNorm.
cudaError_t normedLinear(const Linear&, const InputNorm&, const Step&);
cudaError_t normedLinear(const GatedLinear&, const InputNorm&, const Step&);

// Of the same batch, sequences and tokens.
cudaError_t prepareInputsAndSamples(const PrepareInputs&, const PrepareSamples&, const Step&);

// Two or three on the same samples, from the second on in place; what is left out is without tensors, and the last two are not left
// out both.
cudaError_t processLogits(const MaskLogits&, const BiasLogits&, const Penalties&, const Step&);

// With advanceRows behind them, for at least one sample.
cudaError_t sampleAndAdvance(const Sample&, const AdvanceRows&, const Step&);
cudaError_t argmaxAndAdvance(const Argmax&, const AdvanceRows&, const Step&);
cudaError_t logProbsAndAdvance(const LogProbs&, const AdvanceRows&, const Step&);
// The others need what their operations need.
size_t logProbsAndAdvanceWorkspace();

}  // namespace quire
