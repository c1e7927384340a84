#include "engine-thread.h"

#include <future>

namespace quire {

bool isSticky(cudaError_t e) { return e != cudaSuccess && e != cudaErrorMemoryAllocation && e != cudaErrorInvalidValue && e != cudaErrorNotReady; }

cudaError_t EngineThread::start(int ordinal) {
  std::promise<cudaError_t> opened;
  auto result = opened.get_future();
  jobsThread_ = std::thread([this, ordinal, &opened] {
    cudaError_t e = cudaSetDevice(ordinal);
    if (e == cudaSuccess) e = cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
    opened.set_value(e);
    if (e == cudaSuccess) runJobs();
  });
  const cudaError_t e = result.get();
  if (e != cudaSuccess) {
    jobsThread_.join();
    return e;
  }
  completionThread_ = std::thread([this, ordinal] {
    cudaSetDevice(ordinal);
    runCompletions();
  });
  return cudaSuccess;
}

EngineThread::~EngineThread() { stop(); }

void EngineThread::post(std::function<void()> job) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    jobs_.push_back(std::move(job));
  }
  jobsChanged_.notify_one();
}

void EngineThread::runJobs() {
  for (;;) {
    std::function<void()> job;
    {
      std::unique_lock lock(mutex_);
      jobsChanged_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) break;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
  cudaStreamSynchronize(stream_);
  {
    std::lock_guard lock(mutex_);
    jobsEnded_ = true;
  }
  completionsChanged_.notify_one();
}

void EngineThread::note(cudaError_t error, const std::string& op) {
  if (error == cudaSuccess || failure_) return;
  cudaGetLastError();
  failure_ = {error, op, isSticky(error)};
}

// A passing failure is reported once; a sticky one to everybody from then on.
DeviceFailure EngineThread::takeFailure() {
  DeviceFailure taken = failure_;
  if (!failure_.sticky) failure_ = {};
  return taken;
}

void EngineThread::whenReached(std::function<void(DeviceFailure)> done) {
  cudaEvent_t event = nullptr;
  note(cudaEventCreateWithFlags(&event, cudaEventBlockingSync | cudaEventDisableTiming), "event");
  if (event != nullptr) note(cudaEventRecord(event, stream_), "event");
  {
    std::lock_guard lock(mutex_);
    completions_.push_back({event, takeFailure(), std::move(done)});
  }
  completionsChanged_.notify_one();
}

void EngineThread::runCompletions() {
  for (;;) {
    Completion next;
    {
      std::unique_lock lock(mutex_);
      completionsChanged_.wait(lock, [this] { return jobsEnded_ || !completions_.empty(); });
      if (completions_.empty()) return;
      next = std::move(completions_.front());
      completions_.pop_front();
    }
    if (next.event != nullptr) {
      const cudaError_t e = cudaEventSynchronize(next.event);
      if (!next.failure && e != cudaSuccess) next.failure = {e, "", isSticky(e)};
      cudaEventDestroy(next.event);
    }
    next.done(next.failure);
  }
}

void EngineThread::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  jobsChanged_.notify_one();
  if (jobsThread_.joinable()) jobsThread_.join();
  if (completionThread_.joinable()) completionThread_.join();
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
  stream_ = nullptr;
}

}  // namespace quire
