#include "staging.h"

namespace quire {

int StagingPool::classOf(size_t bytes) {
  int index = 0;
  while ((kSmallest << index) < bytes) index++;
  return index;
}

void* StagingPool::take(size_t bytes, cudaError_t& error) {
  error = cudaSuccess;
  const bool pooled = bytes <= kLargest;
  const int index = pooled ? classOf(bytes) : 0;
  const size_t size = pooled ? kSmallest << index : bytes;
  {
    std::lock_guard lock(mutex_);
    if (pooled && !free_[index].empty()) {
      void* memory = free_[index].back();
      free_[index].pop_back();
      kept_ -= size;
      taken_[memory] = size;
      return memory;
    }
  }
  void* memory = nullptr;
  error = cudaHostAlloc(&memory, size, cudaHostAllocDefault);
  if (error != cudaSuccess) return nullptr;
  std::lock_guard lock(mutex_);
  taken_[memory] = size;
  return memory;
}

void StagingPool::give(void* memory) {
  {
    std::lock_guard lock(mutex_);
    const auto found = taken_.find(memory);
    const size_t size = found->second;
    taken_.erase(found);
    if (size <= kLargest && kept_ + size <= kKept) {
      free_[classOf(size)].push_back(memory);
      kept_ += size;
      return;
    }
  }
  cudaFreeHost(memory);
}

void StagingPool::clear() {
  std::lock_guard lock(mutex_);
  for (auto& list : free_) {
    for (void* memory : list) cudaFreeHost(memory);
    list.clear();
  }
  kept_ = 0;
}

}  // namespace quire
