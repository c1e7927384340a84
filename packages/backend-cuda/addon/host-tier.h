// KV blocks in pinned host memory: one record per slot, the block of every cache in creation order.
#pragma once
#include <cstdint>
#include <map>
#include <vector>

#include "staging.h"

namespace quire {

// Engine thread only, but for the destructor.
class HostTier {
 public:
  ~HostTier() { clear(); }
  void addCache(int handle, char* data, int64_t blockBytes);
  void removeCache(int handle);
  // Enqueues the move of block blocks[i] of every cache to or from slot slots[i]. `table` is staging memory that is in use until
  // the stream has passed.
  cudaError_t move(const std::vector<int>& blocks, const std::vector<int>& slots, bool toHost, cudaStream_t stream, StagingPool& staging, void*& table);
  void clear();

 private:
  struct Cache {
    char* data;
    int64_t blockBytes;
  };
  cudaError_t slotAt(int slot, char*& address);
  int64_t recordBytes() const;
  int unit() const;

  std::map<int, Cache> caches_;  // handles ascend in creation order
  std::map<int, char*> slots_;
  std::vector<void*> slabs_;
  // Free room at the end of the youngest slab.
  char* room_ = nullptr;
  int64_t roomBytes_ = 0;
};

}  // namespace quire
