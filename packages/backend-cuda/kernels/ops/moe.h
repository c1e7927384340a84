// Launch functions of the operations of mixtures of experts; see kernels.h.
#pragma once
#include "step.h"

namespace quire {

struct MoeRoute { Tensor logits, experts, shares; bool normalize; };
// Without shares, out holds the gated layers of a row's experts side by side; with them, the sum of their layers.
struct GroupedLinear { Tensor x, experts, weight, out, shares, residual; Activation activation; int firstExpert; };

cudaError_t moeRoute(const MoeRoute&, const Step&);
cudaError_t groupedLinear(const GroupedLinear&, const Step&);

// Both in one launch, with the bits of the two one by one: of the gated layers, whose blocks read the logits while others already write.
// Right for few rows, as every column chooses the experts again.
cudaError_t routedGroupedLinear(const MoeRoute&, const GroupedLinear&, const Step&);

}  // namespace quire
