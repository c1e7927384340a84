// One CUDA device as JavaScript holds it: tensors by handle, plans by id, one in-order queue.
#pragma once
#include <napi.h>

#include <atomic>
#include <map>
#include <memory>
#include <vector>

#include "engine-thread.h"
#include "plan.h"

namespace quire {

class Device : public Napi::ObjectWrap<Device> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit Device(const Napi::CallbackInfo& info);
  ~Device() override;

 private:
  struct Allocation {
    char* data;
    size_t bytes;
  };
  // A stretch of a submit that runs as one graph, or eagerly op by op.
  struct Segment {
    std::vector<std::pair<std::shared_ptr<Plan>, StepSizes>> steps;
    bool graphable = false;
  };
  struct CapturedGraph {
    cudaGraphExec_t exec = nullptr;
    int kernels = 0, copies = 0, sets = 0;
  };

  // Called from JavaScript.
  Napi::Value info(const Napi::CallbackInfo&);
  Napi::Value createTensor(const Napi::CallbackInfo&);
  void freeTensor(const Napi::CallbackInfo&);
  void write(const Napi::CallbackInfo&);
  Napi::Value read(const Napi::CallbackInfo&);
  Napi::Value compile(const Napi::CallbackInfo&);
  void freePlan(const Napi::CallbackInfo&);
  void submit(const Napi::CallbackInfo&);
  Napi::Value profile(const Napi::CallbackInfo&);
  Napi::Value synchronize(const Napi::CallbackInfo&);
  Napi::Value opCounts(const Napi::CallbackInfo&);
  Napi::Value graphs(const Napi::CallbackInfo&);
  Napi::Value dispose(const Napi::CallbackInfo&);

  // Engine thread.
  void runSegment(const Segment& segment);
  void runSteps(const Segment& segment);
  CapturedGraph* captured(const Segment& segment);
  static StepSizes bucketOf(const StepSizes& sizes, const StepSizes& maxSizes);

  char* addressOf(Napi::Env env, int handle) const;
  // A promise that settles on the JavaScript thread once everything before it has finished on the device. `deliver` makes its
  // value there.
  Napi::Value promiseWhenReached(Napi::Env env, std::function<Napi::Value(Napi::Env)> deliver);
  void settle(Napi::Promise::Deferred deferred, DeviceFailure failure, std::function<Napi::Value(Napi::Env)> deliver);
  void close();
  static void environmentEnds(void* device);

  EngineThread engine_;
  Napi::ThreadSafeFunction callback_;
  int inFlight_ = 0;
  bool closed_ = false;
  int smCount_ = 0;
  int nextHandle_ = 1, nextPlan_ = 1;
  std::map<int, Allocation> tensors_;
  std::map<int, std::shared_ptr<Plan>> plans_;
  std::map<std::vector<int64_t>, CapturedGraph> graphs_;  // engine thread only
  bool useGraphs_ = true;
};

// Batch sizes of captured decode graphs: a batch is padded up to the next one.
int bucketSize(int sequences);

// Throws a JavaScript error with code CUDA_<NAME> and the CUDA name, text and number.
[[noreturn]] void throwCuda(Napi::Env env, cudaError_t error, const std::string& what);

}  // namespace quire
