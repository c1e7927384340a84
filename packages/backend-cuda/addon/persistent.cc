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

// The phases of a run, where all of its operations have one and all go with those in front of it.
std::vector<PlannedPhase> phasesOf(const PlannedRun& run, std::vector<PlannedPhase> before, const Step& step) {
  const size_t count = before.size();
  for (const PhaseOf& phaseOf : run.phases) {
    const auto phase = phaseOf(step);
    if (!phase || !std::all_of(before.begin(), before.end(), [&](const PlannedPhase& other) { return goTogether(*phase, other); })) return {};
    before.push_back(*phase);
  }
  return {before.begin() + static_cast<std::ptrdiff_t>(count), before.end()};
}

// The phases from a run on that go together, and how many runs they are.
std::vector<PlannedPhase> phasesFrom(const Plan& plan, size_t first, const Step& step, size_t& runs) {
  std::vector<PlannedPhase> phases;
  for (runs = 0; first + runs < plan.runs.size(); runs++) {
    const auto more = phasesOf(plan.runs[first + runs], phases, step);
    if (more.empty()) break;
    phases.insert(phases.end(), more.begin(), more.end());
  }
  return phases;
}

PersistentRun runOf(size_t first, size_t runs, int rows, const std::vector<PlannedPhase>& phases) {
  PersistentRun run{first, runs, rows, {nullptr, static_cast<int>(phases.size()), nullptr, phases.front().dtype, 0, 0}};
  for (const PlannedPhase& p : phases) {
    run.step.sharedBytes = std::max(run.step.sharedBytes, p.sharedBytes);
    run.step.headDim = std::max(run.step.headDim, p.headDim);
  }
  return run;
}

}  // namespace

std::vector<PhaseOf> phasesOf(const OpReader& r) {
  const std::string name = r.name();
  if (name == "linear") return {productFrom(linearOf(r))};
  if (name == "gatedLinear") return {productFrom(gatedLinearOf(r))};
  if (name == "ropeKvWrite") return {phaseFrom(ropeKvWriteOf(r))};
  if (name == "kvWrite") return {phaseFrom(kvWriteOf(r))};
  if (name == "pagedAttention") return {phaseFrom(pagedAttentionOf(r))};
  return {};
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
    size_t runs = 0;
    const auto phases = phasesFrom(plan, i, step, runs);
    if (suitsPersistent(phases)) {
      plan.persistent.push_back(runOf(i, runs, rows, phases));
      for (const PlannedPhase& p : phases) memory.phases.push_back(p.phase);
    }
    i += std::max<size_t>(runs, 1);
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
    barrier += kBarrierBytes, phase += run.step.count;
  }
}

bool takesStep(const PersistentRun& run, const StepSizes& s) { return s.tokens <= run.rows && s.sequences == s.tokens && s.decodeSequences == s.tokens && s.samples == s.tokens && s.tokens > 0; }

}  // namespace quire
