// Weights from files to the device, without a copy through JavaScript: a thread reads into pinned memory, and the engine thread
// copies from there.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine-thread.h"
#include "staging.h"

namespace quire {

// Rows of a file, and where they go. Of each row of `rowBytes`, `bytes` are taken from `from` on; they lie `stride` bytes apart on
// the device, with zeros between.
struct FileRows {
  int descriptor;
  int64_t start, rows, rowBytes, from, bytes, stride;
  char* destination;
};

struct FileFailure {
  // What went wrong: of the file (an errno, or 0 where it ends early), or of the device.
  int error = 0;
  // Index of the rows, and the byte of their file that was not there.
  int index = -1;
  int64_t offset = 0;
  DeviceFailure device;
};

class FileLoader {
 public:
  using Done = std::function<void(FileFailure)>;
  FileLoader(EngineThread& engine, StagingPool& staging) : engine_(engine), staging_(staging) {}
  ~FileLoader() { stop(); }
  // `done` is called on the loader's thread, once the rows are on the device or the first has failed. The descriptors are closed.
  void load(int ordinal, std::vector<FileRows> rows, Done done);
  // Ends what is under way, which counts as disposed of, and waits for the thread.
  void stop();

 private:
  struct Job {
    std::vector<FileRows> rows;
    Done done;
  };
  void run(int ordinal);
  FileFailure load(const std::vector<FileRows>& rows);
  // Pinned memory, once few enough pieces are under way. Null when the loader ends, or there is no memory.
  void* takeBuffer(size_t bytes, FileFailure& failure);
  void copy(void* buffer, char* destination, size_t bytes);
  bool waitUntil(std::unique_lock<std::mutex>& lock, int mostUnderWay);

  EngineThread& engine_;
  StagingPool& staging_;
  std::thread thread_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  int underWay_ = 0;
  DeviceFailure deviceFailure_;
  bool stopping_ = false;
};

}  // namespace quire
