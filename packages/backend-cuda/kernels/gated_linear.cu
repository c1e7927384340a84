// gatedLinear: out = activation(gate) * up, where gate and up are the two halves of x weight^T + bias.
//
// The forms are those of linear, which sum the gate's row and the up row of an output column side by side and join them in
// f32 (kernels/linear/output.h): the projection never reaches memory.
#include "linear/variants.h"

namespace quire {

namespace {
LinearProblem problemOf(const GatedLinear& a) {
  LinearProblem problem{a.x, a.weight, a.out, a.bias, {}};
  problem.activation = a.activation;
  problem.gated = true;
  return problem;
}
}  // namespace

cudaError_t gatedLinear(const GatedLinear& a, const Step& s) { return linearLaunch(problemOf(a), s); }

size_t gatedLinearWorkspace(const GatedLinear& a, bool batchInvariant, const LinearLibrary* library) { return linearWorkspace(problemOf(a), batchInvariant, library); }

}  // namespace quire
