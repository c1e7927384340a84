// One CUDA device as JavaScript holds it: tensors by handle, plans by id, one in-order queue, and transfers beside it.
#pragma once
#include <napi.h>

#include <map>
#include <memory>
#include <vector>

#include "../libraries/tuned-linear.h"
#include "engine-thread.h"
#include "file-loader.h"
#include "group.h"
#include "host-tier.h"
#include "plan.h"
#include "staging.h"
#include "step-runner.h"

namespace quire {

// What is not said to run elsewhere runs on JavaScript's thread. Jobs of the engine thread may use `this`: the device holds a
// reference to itself until it is disposed of, and both threads have ended before it goes.
class Device : public Napi::ObjectWrap<Device> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit Device(const Napi::CallbackInfo& info);
  ~Device() override;

 private:
  struct Allocation {
    char* data;
    bool isCache;
  };
  // A promise on its way. `deliver` makes its value, and may be empty.
  struct Pending {
    Napi::Promise::Deferred deferred;
    std::function<Napi::Value(Napi::Env)> deliver;
  };
  enum class Report { queue, ownOnly };

  // Called from JavaScript; src/addon.ts documents them.
  Napi::Value info(const Napi::CallbackInfo&);
  Napi::Value createTensor(const Napi::CallbackInfo&);
  void freeTensor(const Napi::CallbackInfo&);
  void write(const Napi::CallbackInfo&);
  Napi::Value read(const Napi::CallbackInfo&);
  Napi::Value loadFile(const Napi::CallbackInfo&);
  Napi::Value compile(const Napi::CallbackInfo&);
  void freePlan(const Napi::CallbackInfo&);
  void submit(const Napi::CallbackInfo&);
  Napi::Value profile(const Napi::CallbackInfo&);
  Napi::Value tune(const Napi::CallbackInfo&);
  Napi::Value capture(const Napi::CallbackInfo&);
  Napi::Value transfer(const Napi::CallbackInfo&);
  Napi::Value synchronize(const Napi::CallbackInfo&);
  Napi::Value reached(const Napi::CallbackInfo&);
  Napi::Value runs(const Napi::CallbackInfo&);
  Napi::Value graphs(const Napi::CallbackInfo&);
  Napi::Value enterGroup(const Napi::CallbackInfo&);
  Napi::Value exportPeer(const Napi::CallbackInfo&);
  Napi::Value importPeers(const Napi::CallbackInfo&);
  Napi::Value joinGroup(const Napi::CallbackInfo&);
  Napi::Value leaveGroup(const Napi::CallbackInfo&);
  // Runs `work` on the engine thread, and then makes the promise's value.
  Napi::Value groupPromise(Napi::Env env, std::function<void()> work, std::function<Napi::Value(Napi::Env)> deliver = nullptr);
  void abortGroup(const Napi::CallbackInfo&);
  Napi::Value dispose(const Napi::CallbackInfo&);

  char* addressOf(Napi::Env env, int handle) const;
  std::shared_ptr<Plan> planOf(Napi::Env env, int id) const;
  // Device memory, zeroed behind what is queued. Waits for memory that is on its way back before it gives up.
  void* allocate(Napi::Env env, size_t bytes, const std::string& what);
  void* stage(Napi::Env env, size_t bytes, const std::string& what);
  // Copies before it returns; ordered with what is queued.
  void copyToDevice(Napi::Env env, void* destination, const void* source, size_t bytes, const std::string& what);
  // A promise that settles once everything queued before it has finished.
  Napi::Value promiseWhenReached(Napi::Env env, Report report, std::function<Napi::Value(Napi::Env)> deliver);
  // Its two halves: an id for the engine, and, from any thread, the outcome.
  Napi::Value makePending(Napi::Env env, int& id, std::function<Napi::Value(Napi::Env)> deliver);
  void settle(int id, DeviceFailure failure);
  void settleHere(Napi::Env env, int id, const DeviceFailure& failure);
  void tellLoss(const DeviceFailure& failure);

  void finishDispose(Napi::Env env);
  // Ends both threads and frees everything. Idempotent.
  void close();
  static void environmentEnds(void* device);

  void setUp(const Napi::Object& options);
  // Engine thread, once the group has come together.
  void agreeOnLinear();

  const int ordinal_;
  StepSettings settings_;
  std::unique_ptr<TunedLinear> linearLibrary_;
  std::unique_ptr<PrefillTrial> prefillTrial_;
  // Its version, or why there is none.
  std::string linearLibraryReport_;
  // All ranks of the group have the same one, or none.
  bool hasCommonLibrary_ = true;
  StagingPool staging_;
  HostTier hostTier_;
  DeviceGroup group_;
  EngineThread engine_;
  StepRunner runner_;
  FileLoader loader_;
  Napi::ThreadSafeFunction callback_;
  Napi::FunctionReference onLost_;
  int nextPending_ = 1, nextHandle_ = 1, nextPlan_ = 1;
  std::map<int, Pending> pending_;
  std::map<int, Allocation> tensors_;
  std::map<int, std::shared_ptr<Plan>> plans_;
  std::vector<Napi::Promise::Deferred> disposing_;
  bool closed_ = false;
};

// A JavaScript error with the fields of src/device.ts's NativeError.
Napi::Error cudaException(Napi::Env env, const DeviceFailure& failure);
// Throws that where `error` is one.
void checkCuda(Napi::Env env, cudaError_t error, const std::string& doing);
// Of what was on its way then.
DeviceFailure disposed();

}  // namespace quire
