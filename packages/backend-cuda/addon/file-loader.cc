#include "file-loader.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "nvtx.h"

namespace quire {
namespace {

// The ring: so many pieces of so many bytes between file and device.
constexpr int kPieces = 4;
constexpr int64_t kPieceBytes = int64_t{4} << 20;

// Fills `to` from the file. False: `failure` says why.
bool readAll(int descriptor, char* to, int64_t bytes, int64_t offset, FileFailure& failure) {
  while (bytes > 0) {
    const ssize_t count = pread(descriptor, to, bytes, offset);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      failure.error = count < 0 ? errno : 0;
      failure.offset = offset;
      return false;
    }
    to += count, offset += count, bytes -= count;
  }
  return true;
}

// Rows first .. first + count, as they are to lie on the device.
bool readRows(const FileRows& r, int64_t first, int64_t count, char* to, FileFailure& failure) {
  const int64_t at = r.start + first * r.rowBytes;
  if (r.bytes == r.rowBytes && r.stride == r.bytes) return readAll(r.descriptor, to, count * r.bytes, at, failure);
  for (int64_t row = 0; row < count; row++, to += r.stride) {
    if (!readAll(r.descriptor, to, r.bytes, at + row * r.rowBytes + r.from, failure)) return false;
    std::memset(to + r.bytes, 0, r.stride - r.bytes);
  }
  return true;
}

DeviceFailure disposed() { return {cudaErrorUnknown, "", "the device was disposed of", false}; }

}  // namespace

void FileLoader::load(int ordinal, std::vector<FileRows> rows, Done done) {
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back({std::move(rows), std::move(done)});
  }
  if (!thread_.joinable()) thread_ = std::thread([this, ordinal] { run(ordinal); });
  changed_.notify_all();
}

void FileLoader::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void FileLoader::run(int ordinal) {
  cudaSetDevice(ordinal);
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    FileFailure failure = load(job.rows);
    for (const FileRows& rows : job.rows) close(rows.descriptor);
    job.done(std::move(failure));
  }
}

FileFailure FileLoader::load(const std::vector<FileRows>& rows) {
  const NvtxRange range("weights");
  FileFailure failure;
  {
    // Of an earlier load, which ended at its first failure.
    std::lock_guard lock(mutex_);
    deviceFailure_ = {};
  }
  for (size_t i = 0; i < rows.size(); i++) {
    const FileRows& r = rows[i];
    const int64_t most = std::max<int64_t>(kPieceBytes / std::max<int64_t>(r.stride, 1), 1);
    for (int64_t first = 0; first < r.rows; first += most) {
      const int64_t count = std::min(most, r.rows - first);
      void* buffer = takeBuffer(count * r.stride, failure);
      if (buffer == nullptr) return failure;
      if (!readRows(r, first, count, static_cast<char*>(buffer), failure)) {
        staging_.give(buffer);
        failure.index = static_cast<int>(i);
        return failure;
      }
      copy(buffer, r.destination + first * r.stride, count * r.stride);
    }
  }
  std::unique_lock lock(mutex_);
  failure.device = waitUntil(lock, 0) ? deviceFailure_ : disposed();
  return failure;
}

bool FileLoader::waitUntil(std::unique_lock<std::mutex>& lock, int mostUnderWay) {
  changed_.wait(lock, [&] { return stopping_ || underWay_ <= mostUnderWay; });
  return !stopping_;
}

void* FileLoader::takeBuffer(size_t bytes, FileFailure& failure) {
  {
    std::unique_lock lock(mutex_);
    if (!waitUntil(lock, kPieces - 1)) failure.device = disposed();
    else if (deviceFailure_) failure.device = deviceFailure_;
  }
  if (failure.device) return nullptr;
  cudaError_t e = cudaSuccess;
  void* buffer = staging_.take(bytes, e);
  if (buffer == nullptr) failure.device = describeFailure(e, "", "pinned memory for weights"), cudaGetLastError();
  return buffer;
}

void FileLoader::copy(void* buffer, char* destination, size_t bytes) {
  {
    std::lock_guard lock(mutex_);
    underWay_++;
  }
  engine_.post([=] {
    DeviceFailure failure;
    const cudaError_t e = engine_.stopping() ? cudaSuccess : cudaMemcpyAsync(destination, buffer, bytes, cudaMemcpyHostToDevice, engine_.stream());
    if (isSticky(e)) engine_.note(e, "", "copying weights");
    else if (e != cudaSuccess) failure = describeFailure(e, "", "copying weights"), cudaGetLastError();
    engine_.whenReached(engine_.stream(), std::move(failure), [this, buffer](const DeviceFailure& f) {
      staging_.give(buffer);
      std::lock_guard lock(mutex_);
      underWay_--;
      if (f && !deviceFailure_) deviceFailure_ = f;
      changed_.notify_all();
    });
  });
}

}  // namespace quire
