// Runs plans on the engine thread: op by op, or as a captured graph.
#pragma once
#include <memory>
#include <utility>
#include <vector>

#include "engine-thread.h"
#include "graph-cache.h"
#include "plan.h"

namespace quire {

// A stretch of a submit that runs as one graph, or op by op.
struct Segment {
  std::vector<std::pair<std::shared_ptr<Plan>, StepSizes>> steps;
  bool graphable = false;
};

class StepRunner {
 public:
  StepRunner(EngineThread& engine, bool useGraphs);
  // Any thread, before the first step. The library outlives the steps.
  void setUp(const StepSettings& settings) { settings_ = settings; }
  // JavaScript's thread: cuts a submit into segments.
  void add(std::vector<Segment>& segments, const std::shared_ptr<Plan>& plan, const StepSizes& sizes) const;

  // Engine thread.
  void run(const std::vector<Segment>& segments, int times);
  // Makes every choice that the linear layers of a plan leave to the first step of a size. Their results mean nothing.
  void tune(const Plan& plan);
  // Runs a list once at each size that decode steps are padded to, the largest first, and captures it.
  void capture(const std::vector<std::shared_ptr<Plan>>& plans);
  // Microseconds of each op of one step, each launched by itself.
  std::vector<double> profile(const Plan& plan, const StepSizes& sizes);
  void removePlan(int planId) { graphs_.removePlan(planId); }
  void clear() { graphs_.clear(); }
  const GraphCache& graphs() const { return graphs_; }

 private:
  bool runSegment(const Segment& segment);
  bool runSteps(const Segment& segment);
  bool runPlan(const Plan& plan, const Step& step);
  // Not taken where the chip or the step does not suit it.
  bool launch(const PersistentRun& run, const Step& step, bool& taken);
  bool launch(const Plan& plan, const PlannedRun& run, const Step& step);
  bool launch(const PlannedOp& op, const Step& step);
  bool capture(const Segment& segment, CapturedGraph& entry);
  // The same, of a list whose results mean nothing: with persistent runs and without, and keeps the faster.
  bool captureFaster(const Segment& segment, CapturedGraph& entry);
  float millisecondsOf(cudaGraphExec_t exec);
  Step stepOf(const Plan& plan, const StepSizes& sizes) const { return {sizes, plan.workspace, settings_.smCount, engine_.stream(), settings_.batchInvariant, settings_.linearLibrary, capturing_}; }

  EngineThread& engine_;
  const bool useGraphs_;
  StepSettings settings_;
  bool capturing_ = false;
  bool usePersistent_ = true;
  GraphCache graphs_;
};

// Batch sizes of captured decode graphs: a batch is padded up to the next one.
int bucketSize(int sequences);

}  // namespace quire
