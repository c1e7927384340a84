#include "persistent.h"

#include <algorithm>

namespace quire {

namespace {

// A word of its own line for each barrier.
constexpr size_t kBarrierBytes = 128;

template <class At>
PhaseOf phaseFrom(At at) {
  return [at](const Step& s) { return phaseOf(at(s.sizes), s); };
}
template <class At>
PhaseOf productFrom(At at) {
  return [at](const Step& s) { return phaseOf(at(s.sizes), NormedInput{}, s); };
}

// The phases from a run on that go together.
std::vector<PlannedPhase> phasesFrom(const Plan& plan, size_t first, const Step& step) {
  std::vector<PlannedPhase> phases;
  for (size_t i = first; i < plan.runs.size(); i++) {
    const auto phase = plan.runs[i].phase ? plan.runs[i].phase(step) : std::nullopt;
    if (!phase || !std::all_of(phases.begin(), phases.end(), [&](const PlannedPhase& other) { return goTogether(*phase, other); })) break;
    phases.push_back(*phase);
  }
  return phases;
}

PersistentRun runOf(size_t first, int rows, const std::vector<PlannedPhase>& phases) {
  PersistentRun run{first, phases.size(), rows, {nullptr, static_cast<int>(phases.size()), nullptr, phases.front().dtype, 0, 0}};
  for (const PlannedPhase& p : phases) {
    run.step.sharedBytes = std::max(run.step.sharedBytes, p.sharedBytes);
    run.step.headDim = std::max(run.step.headDim, p.headDim);
  }
  return run;
}

}  // namespace

PhaseOf phaseOf(const OpReader& r) {
  const std::string name = r.name();
  if (name == "linear") return productFrom(linearOf(r));
  if (name == "gatedLinear") return productFrom(gatedLinearOf(r));
  if (name == "ropeKvWrite") return phaseFrom(ropeKvWriteOf(r));
  if (name == "kvWrite") return phaseFrom(kvWriteOf(r));
  if (name == "pagedAttention") return phaseFrom(pagedAttentionOf(r));
  return nullptr;
}

size_t phaseWorkspace(const OpReader& r, const StepSizes& maxSizes, const StepSettings& settings) {
  return r.name() == "pagedAttention" ? persistentWorkspace(pagedAttentionOf(r)(maxSizes), settings.smCount) : 0;
}

PhaseMemory findPersistent(Plan& plan, const StepSettings& settings) {
  PhaseMemory memory;
  const StepSizes& max = plan.maxSizes;
  const int rows = std::min({kPersistentRows, max.tokens, max.sequences, max.samples});
  if (rows == 0) return memory;
  const Step step{{rows, rows, rows, rows, max.blocksPerSequence, 1, 0}, plan.workspace, settings.smCount, nullptr};
  for (size_t i = 0; i < plan.runs.size();) {
    const auto phases = phasesFrom(plan, i, step);
    if (suitsPersistent(phases)) {
      plan.persistent.push_back(runOf(i, rows, phases));
      for (const PlannedPhase& p : phases) memory.phases.push_back(p.phase);
    }
    i += std::max<size_t>(phases.size(), 1);
  }
  memory.barrierBytes = plan.persistent.size() * kBarrierBytes;
  return memory;
}

void placePhases(Plan& plan, const PhaseMemory& memory, void* place) {
  plan.phases = place;
  char* barrier = static_cast<char*>(place);
  const auto* phase = reinterpret_cast<const Phase*>(barrier + memory.barrierBytes);
  for (PersistentRun& run : plan.persistent) {
    run.step.barrier = reinterpret_cast<unsigned*>(barrier), run.step.phases = phase;
    barrier += kBarrierBytes, phase += run.count;
  }
}

bool takesStep(const PersistentRun& run, const StepSizes& s) { return s.tokens <= run.rows && s.sequences == s.tokens && s.decodeSequences == s.tokens && s.samples == s.tokens && s.tokens > 0; }

}  // namespace quire
