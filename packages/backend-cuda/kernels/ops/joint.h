// Launch functions of neighbouring operations that share a launch, with the bits of the operations one by one; see kernels.h.
#pragma once
#include "attention.h"
#include "columns.h"
#include "layers.h"
#include "linear.h"
#include "rows.h"
#include "sampling.h"

namespace quire {

// An rmsNorm, or centred a layerNorm; no weight, no norm.
struct InputNorm { Tensor weight, bias; float eps = 0; bool centred = false; };
// What stands between x and a linear layer, each rounded to the dtype of x: sum = residual + norm(x), or without a residual norm(x);
// the layer takes second(sum), or without a second norm sum. sum has no place where nobody else reads it.
struct NormedInput { InputNorm norm; Tensor residual, sum; InputNorm second; };
// Whether one launch can do so much: few rows.
bool takesNormed(const Linear&, const NormedInput&);
bool takesNormed(const GatedLinear&, const NormedInput&);
// Where takesNormed. All blocks read x and the residual while some already write.
cudaError_t normedLinear(const Linear&, const NormedInput&, const Step&);
cudaError_t normedLinear(const GatedLinear&, const NormedInput&, const Step&);

// The norms of all queries and of all keys of qkv, then ropeKvWrite, at any number of rows.
bool takesNormedColumns(const NormColumns& query, const NormColumns& key, const RopeKvWrite&);
cudaError_t normedRopeKvWrite(const NormColumns& query, const NormColumns& key, const RopeKvWrite&, const Step&);

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
