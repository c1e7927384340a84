#include "engine-thread.h"

#include <future>

#include "../kernels/lib/launch_mode.h"

namespace quire {

cudaError_t EngineThread::open(int ordinal) {
  if (const cudaError_t e = cudaSetDevice(ordinal); e != cudaSuccess) return e;
  if (const cudaError_t e = cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking); e != cudaSuccess) return e;
  if (const cudaError_t e = cudaStreamCreateWithFlags(&transferStream_, cudaStreamNonBlocking); e != cudaSuccess) return e;
  int major = 0;
  const cudaError_t e = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, ordinal);
  dependentLaunches = major >= 9;
  return e;
}

cudaError_t EngineThread::start(int ordinal) {
  std::promise<cudaError_t> opened;
  auto result = opened.get_future();
  jobsThread_ = std::thread([this, ordinal, &opened] {
    const cudaError_t e = open(ordinal);
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

void EngineThread::post(std::function<void()> job) {
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  jobsChanged_.notify_one();
}

void EngineThread::drain() {
  std::promise<void> reached;
  post([&] { afterwards([&] { reached.set_value(); }); });
  reached.get_future().wait();
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
  cudaStreamSynchronize(transferStream_);
  {
    std::lock_guard lock(mutex_);
    jobsEnded_ = true;
  }
  completionsChanged_.notify_one();
}

bool EngineThread::note(cudaError_t error, const std::string& op, const std::string& doing) {
  if (error == cudaSuccess) return true;
  cudaGetLastError();
  // The first passing failure is kept for its reader; a sticky one replaces it.
  if (!failure_ || (isSticky(error) && !failure_.sticky)) failure_ = describeFailure(error, op, doing);
  if (endsAtFirstFailure_) failure_.sticky = true;
  if (failure_.sticky) reportLoss(failure_);
  return false;
}

DeviceFailure EngineThread::takeFailure() {
  DeviceFailure taken = failure_;
  if (!failure_.sticky) failure_ = {};
  return taken;
}

void EngineThread::reportLoss(const DeviceFailure& failure) {
  {
    std::lock_guard lock(mutex_);
    if (lossReported_) return;
    lossReported_ = true;
  }
  onLost_(failure);
}

cudaEvent_t EngineThread::takeEvent() {
  {
    std::lock_guard lock(mutex_);
    if (!freeEvents_.empty()) {
      const cudaEvent_t event = freeEvents_.back();
      freeEvents_.pop_back();
      return event;
    }
  }
  cudaEvent_t event = nullptr;
  note(cudaEventCreateWithFlags(&event, cudaEventBlockingSync | cudaEventDisableTiming), "", "making an event");
  return event;
}

void EngineThread::whenReached(cudaStream_t stream, DeviceFailure failure, std::function<void(DeviceFailure)> done) {
  Completion completion;
  completion.event = takeEvent();
  if (completion.event != nullptr) note(cudaEventRecord(completion.event, stream), "", "an event");
  completion.failure = failure || !failure_.sticky ? std::move(failure) : failure_;
  completion.done = std::move(done);
  {
    std::lock_guard lock(mutex_);
    completions_.push_back(std::move(completion));
  }
  completionsChanged_.notify_one();
}

void EngineThread::afterwards(std::function<void()> done) {
  whenReached(stream_, {}, [done = std::move(done)](const DeviceFailure&) { done(); });
}

cudaError_t EngineThread::orderTransferBehindCompute() {
  const cudaEvent_t event = takeEvent();
  if (event == nullptr) return cudaErrorMemoryAllocation;
  cudaError_t e = cudaEventRecord(event, stream_);
  if (e == cudaSuccess) e = cudaStreamWaitEvent(transferStream_, event, 0);
  std::lock_guard lock(mutex_);
  freeEvents_.push_back(event);  // a wait that was enqueued keeps what it waits for
  return e;
}

void EngineThread::runCompletions() {
  for (;;) {
    Completion next;
    {
      std::unique_lock lock(mutex_);
      completionsChanged_.wait(lock, [this] { return jobsEnded_ || !completions_.empty(); });
      if (completions_.empty()) break;
      next = std::move(completions_.front());
      completions_.pop_front();
    }
    if (next.event != nullptr) {
      const cudaError_t e = cudaEventSynchronize(next.event);
      if (e != cudaSuccess && !next.failure) next.failure = describeFailure(e, "", "");
      if (next.failure.sticky) reportLoss(next.failure);
      std::lock_guard lock(mutex_);
      freeEvents_.push_back(next.event);
    }
    next.done(next.failure);
  }
  std::function<void()> ended;
  {
    std::lock_guard lock(mutex_);
    ended = std::move(ended_);
  }
  if (ended) ended();
}

bool EngineThread::stopping() {
  std::lock_guard lock(mutex_);
  return stopping_;
}

void EngineThread::requestStop(std::function<void()> ended) {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    ended_ = std::move(ended);
  }
  jobsChanged_.notify_one();
}

void EngineThread::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  jobsChanged_.notify_one();
  if (jobsThread_.joinable()) jobsThread_.join();
  if (completionThread_.joinable()) completionThread_.join();
  for (const cudaEvent_t event : freeEvents_) cudaEventDestroy(event);
  freeEvents_.clear();
  if (transferStream_ != nullptr) cudaStreamDestroy(transferStream_);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
  stream_ = transferStream_ = nullptr;
}

}  // namespace quire
