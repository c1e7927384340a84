// Launch functions of a linear layer with what stands in front of it and the rotation behind it; see kernels.h.
#pragma once
#include "joint.h"

namespace quire {

// normedLinear, then ropeKvWrite of its output, with their bits. Whether one launch can do so much: few rows, in 16 bits.
bool takesRotated(const Linear&, const NormedInput&, const RopeKvWrite&);
// Where takesRotated, in a step with a workspace. Heads are rotated while others are still computed.
cudaError_t rotatedLinear(const Linear&, const NormedInput&, const RopeKvWrite&, const Step&);

}  // namespace quire
