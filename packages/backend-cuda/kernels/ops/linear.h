// Launch functions of the operations of matrices; see kernels.h.
#pragma once
#include "step.h"

namespace quire {

struct LinearProblem;
// A library that may compute linear in the place of our own kernels. It is bound by no rule of batch invariance.
class LinearLibrary {
 public:
  virtual ~LinearLibrary() = default;
  // Bytes of workspace that it needs at these sizes; 0 for a problem that is none of its own.
  virtual size_t workspace(const LinearProblem&) const = 0;
  // False when our own kernels are to compute the problem; then nothing has been enqueued, but for trials on other memory.
  virtual bool launch(const LinearProblem&, const Step&, cudaError_t& error) = 0;
};

struct Linear { Tensor x, weight, out, bias, residual; Activation activation; int outColumn; };
// out = activation(gate) * up, where gate and up are the first and the second n rows of x weight^T + bias; weight [2 n, K].
struct GatedLinear { Tensor x, weight, out, bias; Activation activation; };

cudaError_t linear(const Linear&, const Step&);
cudaError_t gatedLinear(const GatedLinear&, const Step&);

// Bytes of workspace that an operation needs at the largest sizes.
size_t linearWorkspace(const Linear&, bool batchInvariant, const LinearLibrary*);
size_t gatedLinearWorkspace(const GatedLinear&, bool batchInvariant, const LinearLibrary*);

}  // namespace quire
