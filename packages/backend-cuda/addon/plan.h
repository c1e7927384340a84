// A compiled Program: launches in order, over tensors whose first dimension may be a size of the step.
#pragma once
#include <napi.h>

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "../kernels/collectives.h"
#include "../kernels/kernels.h"
#include "prefill-trial.h"

namespace quire {

// Where a tensor of a plan lies, before its step's sizes are known.
struct PlannedTensor {
  char* data = nullptr;
  DType dtype = DType::f32;
  int rows = 0;
  // Index into StepSizes, or -1 when `rows` holds.
  int rowsSize = -1;
  int64_t columns = 0;
  Tensor at(const StepSizes& sizes) const;
};

struct PlannedOp {
  std::string name;
  std::function<cudaError_t(const Step&)> launch;
};

// Enqueues several operations as one launch, and sets the error. False where it cannot at the sizes of the step: then nothing has
// been enqueued.
using JointLaunch = std::function<bool(const Step&, cudaError_t&)>;
// The phase of operations in a persistent step, at its sizes; nothing where they have none.
using PhaseOf = std::function<std::optional<PlannedPhase>(const Step&)>;
// Operations first .. first + count - 1 of a plan. Without a launch of their own they run one by one.
struct PlannedRun {
  size_t first, count;
  JointLaunch launch;
  // In their order; empty where an operation has none.
  std::vector<PhaseOf> phases;
};
// Runs first .. first + count - 1 of a plan, which one cooperative launch does at up to `rows` rows.
struct PersistentRun {
  size_t first, count;
  int rows;
  PersistentStep step;
};

struct Plan {
  int id = 0;
  std::string name;
  std::vector<PlannedOp> ops;
  // All of them, in their order.
  std::vector<PlannedRun> runs;
  // In their order; what they read on the device.
  std::vector<PersistentRun> persistent;
  void* phases = nullptr;
  StepSizes maxSizes;
  // Every op depends on sizes only: the plan may be captured.
  bool graphable = true;
  // It fills what follows up to the sizes of its step: only behind such a plan may a batch be padded up to a bucket.
  bool fillsPadding = false;
  Workspace workspace;
  // How often it ran since compile; read by another thread.
  std::atomic<uint64_t> timesRun{0};
};

// What the steps of a device have in common.
struct StepSettings {
  int smCount = 0;
  bool batchInvariant = true;
  LinearLibrary* linearLibrary = nullptr;
  Communicators groups = {};
  // Null where prefill stays with mma.sync.
  PrefillTrial* prefillTrial = nullptr;
};

StepSizes readSizes(const int32_t* words);
int sizeAt(const StepSizes& sizes, int index);

// Resolves a tensor handle to its device address; throws Napi::Error for an unknown one.
using AddressOf = std::function<char*(int handle)>;

// Builds a plan from what src/compile.ts made: { name, maxSizes, ops: [{ op, tensors: { field: [handle, byteOffset, dtype,
// rows, rowsSize, columns] }, attributes: { name: number }, feedsNextOnly }] }, for steps with these settings. Returns the bytes of workspace
// that it needs.
size_t buildPlan(const Napi::Object& description, const AddressOf& addressOf, const StepSettings& settings, Plan& plan);

}  // namespace quire
