// One native thread per device: it owns the context, the streams and the graphs, and runs jobs in the order of the calls from
// JavaScript. A second thread waits for events and hands results back, so that waiting for a read does not hold up launches.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "failure.h"

namespace quire {

class EngineThread {
 public:
  // Called once on either thread, when the device is lost.
  using OnLost = std::function<void(const DeviceFailure&)>;
  explicit EngineThread(OnLost onLost) : onLost_(std::move(onLost)) {}
  ~EngineThread() { stop(); }
  // Opens the device and its streams on the new thread; returns what went wrong, or cudaSuccess.
  cudaError_t start(int ordinal);

  // Runs job() on the engine thread, after all jobs before it.
  void post(std::function<void()> job);
  // Blocks until all jobs so far and what they enqueued have finished.
  void drain();
  // From now on jobs enqueue nothing; `ended` is called on the completion thread after the last of them.
  void requestStop(std::function<void()> ended);
  // Requests it and waits for both threads. Idempotent.
  void stop();
  // In a group every failure is for good: the others wait for what this device did not do. Engine thread.
  void endAtFirstFailure() { endsAtFirstFailure_ = true; }
  // Jobs ask before they enqueue work.
  bool stopping();

  // The following are for the engine thread only.
  cudaStream_t stream() const { return stream_; }
  // For transfers to and from host memory, beside the compute stream.
  cudaStream_t transferStream() const { return transferStream_; }
  // Notes that `op`, or whatever else was done, failed. Returns whether the call succeeded.
  bool note(cudaError_t error, const std::string& op, const std::string& doing = "");
  // The failure to report: a passing one is reported once, a sticky one to everybody from then on.
  DeviceFailure takeFailure();
  bool lost() const { return failure_.sticky; }
  // Calls done() on the completion thread once everything enqueued so far on the stream has finished. A failure of the device in
  // the meantime takes the place of an empty `failure`.
  void whenReached(cudaStream_t stream, DeviceFailure failure, std::function<void(DeviceFailure)> done);
  // The same for work whose failure is nobody's news.
  void afterwards(std::function<void()> done);
  // Makes the transfer stream wait for what the compute stream holds now.
  cudaError_t orderTransferBehindCompute();

 private:
  struct Completion {
    cudaEvent_t event = nullptr;
    DeviceFailure failure;
    std::function<void(DeviceFailure)> done;
  };
  cudaError_t open(int ordinal);
  void runJobs();
  void runCompletions();
  void reportLoss(const DeviceFailure& failure);
  cudaEvent_t takeEvent();

  OnLost onLost_;
  std::thread jobsThread_, completionThread_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable jobsChanged_, completionsChanged_;
  std::deque<std::function<void()>> jobs_;
  std::deque<Completion> completions_;
  std::vector<cudaEvent_t> freeEvents_;
  std::function<void()> ended_;
  bool stopping_ = false, jobsEnded_ = false, lossReported_ = false;

  cudaStream_t stream_ = nullptr, transferStream_ = nullptr;
  DeviceFailure failure_;
  bool endsAtFirstFailure_ = false;
};

}  // namespace quire
