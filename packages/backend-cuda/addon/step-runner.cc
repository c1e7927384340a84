#include "step-runner.h"

#include <algorithm>

#include "../libraries/tuned-linear.h"
#include "nvtx.h"
#include "persistent.h"

namespace quire {

namespace {

// Every bucket up to 256 sequences with four sampling classes.
constexpr size_t kMaxGraphs = 72;

// Only steps in which every sequence decodes and samples have a bucket.
bool isDecode(const StepSizes& s) { return s.sequences > 0 && s.decodeSequences == s.sequences && s.tokens == s.sequences && s.samples == s.sequences; }

StepSizes bucketOf(const StepSizes& s, const StepSizes& max) {
  const int n = std::min({bucketSize(s.sequences), max.sequences, max.tokens, max.samples});
  return {n, n, n, n, max.blocksPerSequence, 1, 0};
}

GraphKey keyOf(const Segment& segment) {
  GraphKey key;
  for (const auto& [plan, sizes] : segment.steps) {
    key.push_back(plan->id);
    key.push_back(sizes.sequences);
  }
  return key;
}

std::string nameOf(const Segment& segment) {
  std::string name;
  for (const auto& [plan, sizes] : segment.steps) name += (name.empty() ? "" : "+") + plan->name;
  return name;
}

}  // namespace

int bucketSize(int n) {
  if (n <= 2) return n;
  if (n <= 8) return (n + 3) / 4 * 4;
  if (n <= 32) return (n + 7) / 8 * 8;
  if (n <= 128) return (n + 15) / 16 * 16;
  if (n <= 256) return (n + 31) / 32 * 32;
  return (n + 63) / 64 * 64;
}

StepRunner::StepRunner(EngineThread& engine, bool useGraphs)
    : engine_(engine), useGraphs_(useGraphs), graphs_(kMaxGraphs, [&engine](cudaGraphExec_t exec) { engine.afterwards([exec] { cudaGraphExecDestroy(exec); }); }) {}

void StepRunner::add(std::vector<Segment>& segments, const std::shared_ptr<Plan>& plan, const StepSizes& sizes) const {
  const bool padded = plan->fillsPadding || (!segments.empty() && segments.back().graphable);
  const bool graphable = useGraphs_ && isDecode(sizes) && padded && plan->graphable;
  if (segments.empty() || segments.back().graphable != graphable) segments.push_back({{}, graphable});
  segments.back().steps.push_back({plan, graphable ? bucketOf(sizes, plan->maxSizes) : sizes});
}

// A list that fails is not run to its end, nor repeated.
void StepRunner::run(const std::vector<Segment>& segments, int times) {
  for (int repeat = 0; repeat < times; repeat++) {
    for (const auto& segment : segments) {
      if (engine_.stopping() || engine_.lost() || !runSegment(segment)) return;
    }
  }
}

bool StepRunner::runSegment(const Segment& segment) {
  for (const auto& [plan, sizes] : segment.steps) plan->timesRun++;
  if (!segment.graphable) return runSteps(segment);
  const GraphKey key = keyOf(segment);
  const bool isNew = graphs_.entries().find(key) == graphs_.entries().end();
  CapturedGraph& entry = graphs_.at(key);
  if (isNew) return runSteps(segment);
  if (entry.exec == nullptr && !capture(segment, entry)) return false;
  entry.replays++;
  const NvtxRange range(entry.name.c_str());
  return engine_.note(cudaGraphLaunch(entry.exec, engine_.stream()), "", "graph " + entry.name);
}

bool StepRunner::runSteps(const Segment& segment) {
  for (const auto& [plan, sizes] : segment.steps) {
    if (!runPlan(*plan, stepOf(*plan, sizes))) return false;
  }
  return true;
}

bool StepRunner::runPlan(const Plan& plan, const Step& step) {
  auto persistent = plan.persistent.begin();
  for (size_t i = 0; i < plan.runs.size();) {
    bool taken = false;
    if (usePersistent_ && persistent != plan.persistent.end() && persistent->first == i) {
      if (!launch(*persistent, step, taken)) return false;
      if (taken) i += persistent->count;
      persistent++;
    }
    if (!taken && !launch(plan, plan.runs[i++], step)) return false;
  }
  return true;
}

bool StepRunner::launch(const PersistentRun& run, const Step& step, bool& taken) {
  if (!takesStep(run, step.sizes)) return true;
  return launch({"persistentStep", [&](const Step& s) { return persistentStep(run.step, s, taken); }}, step);
}

// A run that is one launch goes by the name of its last operation.
bool StepRunner::launch(const Plan& plan, const PlannedRun& run, const Step& step) {
  bool joint = false;
  const PlannedOp& last = plan.ops[run.first + run.count - 1];
  if (run.launch) {
    const bool good = launch({last.name, [&](const Step& s) {
      cudaError_t error = cudaSuccess;
      joint = run.launch(s, error);
      return error;
    }}, step);
    if (joint) return good;
  }
  for (size_t i = 0; i < run.count; i++) {
    if (!launch(plan.ops[run.first + i], step)) return false;
  }
  return true;
}

bool StepRunner::launch(const PlannedOp& op, const Step& step) {
#if defined(EMU)
  emu::operation = op.name;
#endif
  const NvtxRange range(op.name.c_str());
  return engine_.note(op.launch(step), op.name);
}

bool StepRunner::capture(const Segment& segment, CapturedGraph& entry) {
  const NvtxRange range("graph capture");
  if (!engine_.note(cudaStreamBeginCapture(engine_.stream(), cudaStreamCaptureModeThreadLocal), "", "graph capture")) return false;
  capturing_ = true;
  const bool complete = runSteps(segment);
  capturing_ = false;
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(engine_.stream(), &graph);
  if (!complete) {
    if (ended == cudaSuccess) cudaGraphDestroy(graph);
    return false;
  }
  if (!engine_.note(ended, "", "graph capture")) return false;
  entry.name = nameOf(segment);
  return engine_.note(instantiate(graph, entry), "", "graph instantiation");
}

// Time says nothing on the emulator: there persistent runs are always kept.
bool StepRunner::captureFaster(const Segment& segment, CapturedGraph& entry) {
  if (!capture(segment, entry)) return false;
#if !defined(EMU)
  const bool hasPersistent = std::any_of(segment.steps.begin(), segment.steps.end(), [](const auto& step) {
    const auto& runs = step.first->persistent;
    return std::any_of(runs.begin(), runs.end(), [&](const PersistentRun& run) { return takesStep(run, step.second); });
  });
  if (!hasPersistent) return true;
  CapturedGraph launched;
  usePersistent_ = false;
  const bool captured = capture(segment, launched);
  usePersistent_ = true;
  if (!captured) return false;
  if (millisecondsOf(launched.exec) < millisecondsOf(entry.exec)) std::swap(entry.exec, launched.exec), entry.kernels = launched.kernels;
  return engine_.note(cudaStreamSynchronize(engine_.stream()), "", "graph timing") && engine_.note(cudaGraphExecDestroy(launched.exec), "", "graph timing");
#else
  return true;
#endif
}

float StepRunner::millisecondsOf(cudaGraphExec_t exec) {
  constexpr int kReplays = 20;
  cudaEvent_t start = nullptr, stop = nullptr;
  float milliseconds = 0;
  cudaEventCreateWithFlags(&start, 0), cudaEventCreateWithFlags(&stop, 0);
  cudaGraphLaunch(exec, engine_.stream());
  cudaEventRecord(start, engine_.stream());
  for (int i = 0; i < kReplays; i++) cudaGraphLaunch(exec, engine_.stream());
  cudaEventRecord(stop, engine_.stream());
  engine_.note(cudaEventSynchronize(stop), "", "graph timing");
  cudaEventElapsedTime(&milliseconds, start, stop);
  cudaEventDestroy(start), cudaEventDestroy(stop);
  return milliseconds;
}

void StepRunner::tune(const Plan& plan) {
  if (settings_.linearLibrary == nullptr) return;
  const StepSizes& max = plan.maxSizes;
  bool good = true;
  for (int rows = rowsBucket(1);; rows = rowsBucket(rows + 1)) {
    const StepSizes sizes{std::min(rows, max.tokens), std::min(rows, max.sequences), 0, std::min(rows, max.samples), max.blocksPerSequence, 1, 0};
    const Step step = stepOf(plan, sizes);
    for (const auto& op : plan.ops) {
      if (op.name == "linear" || op.name == "gatedLinear") good = good && !engine_.stopping() && !engine_.lost() && launch(op, step);
    }
    if (!good || rows >= std::max(max.tokens, max.samples)) return;
  }
}

void StepRunner::capture(const std::vector<std::shared_ptr<Plan>>& plans) {
  if (!useGraphs_) return;
  const StepSizes& max = plans.front()->maxSizes;
  const int most = std::min({max.sequences, max.tokens, max.samples});
  std::vector<int> batches{most};
  for (int batch = 1; batch < most; batch = bucketSize(batch + 1)) batches.push_back(batch);
  std::sort(batches.rbegin(), batches.rend());
  for (const int batch : batches) {
    std::vector<Segment> segments;
    for (const auto& plan : plans) add(segments, plan, {batch, batch, batch, batch, max.blocksPerSequence, 1, 0});
    for (const auto& segment : segments) {
      if (engine_.stopping() || engine_.lost()) return;
      if (!segment.graphable) continue;
      CapturedGraph& entry = graphs_.at(keyOf(segment));
      if (entry.exec == nullptr && (!runSteps(segment) || !captureFaster(segment, entry))) return;
    }
  }
}

std::vector<double> StepRunner::profile(const Plan& plan, const StepSizes& sizes) {
  std::vector<double> times;
  const Step step = stepOf(plan, sizes);
  cudaEvent_t start = nullptr, stop = nullptr;
  bool good = engine_.note(cudaEventCreateWithFlags(&start, 0), "", "making an event") && engine_.note(cudaEventCreateWithFlags(&stop, 0), "", "making an event");
  for (size_t i = 0; good && i < plan.ops.size(); i++) {
    float milliseconds = 0;
    cudaEventRecord(start, engine_.stream());
    good = launch(plan.ops[i], step);
    cudaEventRecord(stop, engine_.stream());
    good = engine_.note(cudaEventSynchronize(stop), "", plan.ops[i].name) && good;
    cudaEventElapsedTime(&milliseconds, start, stop);
    times.push_back(milliseconds * 1000.0);
  }
  if (start != nullptr) cudaEventDestroy(start);
  if (stop != nullptr) cudaEventDestroy(stop);
  return times;
}

}  // namespace quire
