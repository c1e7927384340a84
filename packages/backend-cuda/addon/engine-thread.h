// One native thread per device: it owns the context, the stream and the graphs, and runs jobs in the order of the calls from
// JavaScript. A second thread waits for events and hands results back, so that waiting for a read does not hold up launches.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "cuda_runtime.h"

namespace quire {

// The first failure of a device since it was last reported. A sticky one ends the device.
struct DeviceFailure {
  cudaError_t error = cudaSuccess;
  std::string op;
  bool sticky = false;
  explicit operator bool() const { return error != cudaSuccess; }
};

bool isSticky(cudaError_t error);

class EngineThread {
 public:
  EngineThread() = default;
  ~EngineThread();
  // Opens device 0 and its stream on the new thread; returns what went wrong, or cudaSuccess.
  cudaError_t start(int ordinal);

  // Runs job() on the engine thread, after all jobs before it.
  void post(std::function<void()> job);
  // Engine thread only: calls done() on the completion thread once everything enqueued so far has finished on the device.
  void whenReached(std::function<void(DeviceFailure)> done);
  // Engine thread only: notes a failure of `op`.
  void note(cudaError_t error, const std::string& op);
  // Ends both threads after the jobs already posted. Idempotent.
  void stop();

  cudaStream_t stream() const { return stream_; }

 private:
  struct Completion {
    cudaEvent_t event;
    DeviceFailure failure;
    std::function<void(DeviceFailure)> done;
  };
  void runJobs();
  void runCompletions();
  DeviceFailure takeFailure();

  std::thread jobsThread_, completionThread_;
  std::mutex mutex_;
  std::condition_variable jobsChanged_, completionsChanged_;
  std::deque<std::function<void()>> jobs_;
  std::deque<Completion> completions_;
  bool stopping_ = false, jobsEnded_ = false;
  cudaStream_t stream_ = nullptr;
  DeviceFailure failure_;
};

}  // namespace quire
