// Neighbouring runs of a plan that one cooperative launch can do in decode steps of few rows. What they compute is that of the runs
// one by one, bit for bit.
#pragma once
#include <vector>

#include "op-reader.h"

namespace quire {

// The phase of an operation that shares its launch with no other; empty where it has none.
std::vector<PhaseOf> phasesOf(const OpReader&);
// Bytes of workspace that it needs there.
size_t phaseWorkspace(const OpReader&, const StepSizes& maxSizes, const StepSettings&);

// What the persistent runs of a plan read on the device: a word for each barrier, zero at first, and the phases.
struct PhaseMemory {
  std::vector<Phase> phases;
  size_t bytes() const { return phases.size() * sizeof(Phase) + barrierBytes; }
  // In front of the phases.
  size_t barrierBytes = 0;
};
// Finds them, when the plan has its workspace.
PhaseMemory findPersistent(Plan&, const StepSettings&);
// Tells them where that memory is.
void placePhases(Plan&, const PhaseMemory&, void* memory);

// Whether a step is one for a persistent run.
bool takesStep(const PersistentRun&, const StepSizes&);

}  // namespace quire
