// Pinned host memory for writes and reads, reused: allocating it costs more than most copies.
#pragma once
#include <array>
#include <map>
#include <mutex>
#include <vector>

#include "cuda_runtime.h"

namespace quire {

// Sizes are powers of two from kSmallest to kLargest. Larger pieces are allocated for their one use. At most kKept bytes stay
// behind unused; from any thread.
class StagingPool {
 public:
  ~StagingPool() { clear(); }
  // Null when there is no memory; `error` says why.
  void* take(size_t bytes, cudaError_t& error);
  // Once the device is through with it.
  void give(void* memory);
  // Frees what is unused. Everything has been given back before the pool ends.
  void clear();

 private:
  static constexpr size_t kSmallest = 4096, kLargest = size_t{8} << 20, kKept = size_t{64} << 20;
  static constexpr int kClasses = 12;
  static int classOf(size_t bytes);

  std::mutex mutex_;
  std::map<void*, size_t> taken_;
  std::array<std::vector<void*>, kClasses> free_;
  size_t kept_ = 0;
};

}  // namespace quire
