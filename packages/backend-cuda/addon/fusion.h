// Neighbouring operations of a plan that one launch can do. What they compute is that of the operations one by one, bit for bit;
// what only the second of them reads may be left unwritten.
#pragma once
#include <vector>

#include "op-reader.h"

namespace quire {

struct Fusion {
  // Operations that it covers; 0 where there is nothing to join.
  size_t count = 0;
  JointLaunch launch;
  // At the largest sizes.
  size_t workspaceBytes = 0;
  // Of its operations; empty where it has none.
  std::vector<PhaseOf> phases = {};
};

// The longest run from ops[first] on.
Fusion findFusion(const std::vector<OpReader>& ops, size_t first, const StepSizes& maxSizes);

}  // namespace quire
