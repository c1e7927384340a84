// Launch functions of the operations of a layer apart from its matrices and its attention; see kernels.h.
#pragma once
#include "step.h"

namespace quire {

struct Embed { Tensor ids, table, out; int offset, firstRow; };
struct RmsNorm { Tensor x, weight, out; float eps; Tensor residual, sum; };
struct LayerNorm { Tensor x, weight, bias, out; float eps; };
struct GatedActivation { Tensor x, out; Activation activation; };
struct Add { Tensor a, b, out; };

cudaError_t embed(const Embed&, const Step&);
cudaError_t rmsNorm(const RmsNorm&, const Step&);
cudaError_t layerNorm(const LayerNorm&, const Step&);
cudaError_t gatedActivation(const GatedActivation&, const Step&);
cudaError_t add(const Add&, const Step&);

}  // namespace quire
