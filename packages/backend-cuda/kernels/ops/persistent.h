// Launch function of a run of operations of a decode step as one cooperative launch, for few rows; see kernels.h.
#pragma once
#include <optional>
#include <vector>

#include "joint.h"

namespace quire {

// Rows that it takes at most.
constexpr int kPersistentRows = 8;

// What all blocks do between two barriers, as the kernel reads it: one operation, or several that share a launch elsewhere too.
struct alignas(16) Phase {
  int kind;
  alignas(16) unsigned char arguments[192];
};
struct PlannedPhase {
  Phase phase;
  DType dtype;
  // Of a block.
  size_t sharedBytes;
  // Of the weight of a product, else 0.
  size_t weightBytes;
  // Of attention, else 0.
  int headDim;
};
// At the sizes and in the workspace of a step; the phase then holds for fewer rows too. Nothing where the kernel does not have it.
std::optional<PlannedPhase> phaseOf(const Linear&, const NormedInput&, const Step&);
std::optional<PlannedPhase> phaseOf(const GatedLinear&, const NormedInput&, const Step&);
std::optional<PlannedPhase> phaseOf(const RopeKvWrite&, const Step&);
std::optional<PlannedPhase> phaseOf(const KvWrite&, const Step&);
std::optional<PlannedPhase> phaseOf(const PagedAttention&, const Step&);
// Bytes of workspace that attention needs in it.
size_t persistentWorkspace(const PagedAttention&, int smCount);

// Whether one kernel has both.
bool goTogether(const PlannedPhase&, const PlannedPhase&);
// Whether barriers cost less than launches: so it is where the weights of a launch are few.
bool suitsPersistent(const std::vector<PlannedPhase>&);

struct PersistentStep {
  // In device memory, as is the word of the barrier, which begins at 0.
  const Phase* phases;
  int count;
  unsigned* barrier;
  DType dtype;
  int headDim;
  size_t sharedBytes;
};
// With the bits of the operations one by one, for up to kPersistentRows rows. Not taken where the chip does not hold all blocks at
// once; then nothing has been enqueued.
cudaError_t persistentStep(const PersistentStep&, const Step&, bool& taken);

}  // namespace quire
